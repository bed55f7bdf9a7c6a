"""Runs a haproxy, real or fake, under its wrapper, for the tests of the wrapper."""

from __future__ import annotations

import http.client
import http.server
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cluster.local import haproxy_wrapper
from cluster.local.state_directory import free_port

FAKE = """#!{python} -IS
import os, re, signal, socket, sys
words = sys.argv[1:]
text = open(words[words.index("-f") + 1]).read()
path = re.search(r"stats socket (\\S+)", text)[1]
folder = os.path.dirname(path)

def note(*words):
    with open(folder + "/log", "a") as file:
        print(os.getpid(), *words, file=file)

def heard(number, _):
    note(signal.Signals(number).name)
    if number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        os._exit(3)

for number in (1, 2, 3, 10, 15, 21, 22):
    signal.signal(number, heard)
note("start", *words)
if os.path.exists(folder + "/broken") or "broken" in text:
    sys.exit(7)
admin = socket.socket(socket.AF_UNIX)
if os.path.exists(path):
    os.unlink(path)
admin.bind(path)
admin.listen()
while True:
    with admin.accept()[0] as caller:
        question = caller.recv(1000)
        if question:
            caller.sendall(b"Name: fake\\nPid: %d\\nUptime: %s\\n" % (os.getpid(), question))
"""
CONFIG = """global
    stats socket {admin} mode 666 level admin expose-fd listeners
    hard-stop-after 5s
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    timeout tarpit 1s
    errorfile 503 /nowhere
frontend prometheus
    bind :{metrics}
frontend http_frontend
    bind 127.0.0.1:{port}
    http-request tarpit deny_status 200 if {{ path /slow }}
    http-request return status 200 if {{ path / }}
    http-request return status 404 content-type text/plain string "nothing"
listen stats
  bind *:{stats}
  stats enable
"""


@dataclass
class Stand:
    """A folder with the files that Serve's HAProxy manager would write, and the wrappers started in it.

    `binary` is the program that the wrapper runs as haproxy.
    """

    folder: Path
    binary: str
    port: int = field(default_factory=free_port)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.admin, self.config, self.log = (self.folder / name for name in ("a.s", "h.cfg", "log"))
        self.text = CONFIG.format(admin=self.admin, port=self.port, metrics=free_port(), stats=free_port())
        self.config.write_text(self.text)

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-I", "-S", haproxy_wrapper.__file__, self.binary, "-db", "-f", str(self.config), "-dR"]

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([*self.command, *words], stderr=subprocess.PIPE, text=True)
        self.started.append(process)
        return process

    def serving(self, *words: str) -> subprocess.Popen[str]:
        """Start a wrapper, wait until Serve would accept it, and return its process.

        Serve accepts it when `show info` names the pid that was started.
        """
        process = self.start(*words)
        await_that(lambda: self.info_pid() == process.pid or process.poll() is not None)
        assert process.poll() is None, process.communicate()[1]
        return process

    def ask(self, question: bytes = b"show info\n") -> bytes:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(2)
            try:
                s.connect(str(self.admin))
                s.sendall(question)
                return b"".join(iter(lambda: s.recv(4096), b""))
            except OSError:
                return b""

    def info_pid(self) -> int | None:
        found = re.search(rb"^Pid: (\d+)$", self.ask(), re.MULTILINE)
        return int(found[1]) if found else None

    def starts(self) -> list[tuple[int, list[str]]]:
        """Return the pid and the arguments of each start of the fake haproxy."""
        lines = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [(int(line[0]), line[2:]) for line in lines if line[1] == "start"]

    def heard(self) -> list[str]:
        return [line.split()[1] for line in self.log.read_text().splitlines() if "start" not in line]

    def get(self, path: str = "/") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()


def await_that(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.01)


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
