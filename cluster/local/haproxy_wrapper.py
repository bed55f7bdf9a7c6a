"""Runs haproxy with settings that Ray's template does not offer, and restarts it when it dies. Standard library only.

    haproxy_wrapper.py REAL_BINARY ARGUMENTS…

Serve starts this program in place of haproxy and believes that it is haproxy. The wrapper edits a copy of the generated
configuration beside the original file. The edits (`EDITS`) are:

- metrics and statistics listen on loopback;
- a client that sends its headers slowly meets a deadline;
- a request without a path (CONNECT) gets 400;
- while no route exists yet, the answer is 503 instead of 404;
- while Serve's own proxy answers 404, because no intake replica runs, the answer is 503 too: no caller repeats a 404;
- Ray's error files are removed, so that a 503 stays a 503;
- HAProxy gets no more connections than it may have open files (`fitting`).

An edit whose pattern matches nothing is named on stderr and left out. If such an edit is one of `VITAL`, the wrapper
refuses to start. A test renders Ray's template and asserts each edit.

Two values come from the environment. The first is the address to listen on, because Serve itself would use the
replicas' address, which is loopback. The second is the id of the installation. The wrapper marks each request with this
id. When one of our replicas has died, another installation's replica may get its port. Such a replica refuses a request
that has our mark.

Then the wrapper stays as the parent of haproxy. No request passes through the wrapper.

- If haproxy dies and nobody asked it to end, it is started again with the same copy, at most `DEATHS_MAX` times in
  `DEATHS_S` seconds. After that, or if haproxy never served, the wrapper ends with haproxy's exit code and Serve sees
  it.
- Signals are passed on to haproxy. After a signal of `ENDING`, haproxy is expected to end and is not started again. At
  a reload, the next haproxy sends such a signal by its option `-sf`.
- Serve accepts a haproxy only if `show info` on the admin socket names the pid that Serve started, which is the
  wrapper's pid. So the wrapper itself listens on the admin socket, and haproxy gets another socket beside it. The
  wrapper passes each question on to haproxy, and replaces haproxy's pid in the answer by its own.
- haproxy dies with the wrapper, and the wrapper dies with its parent. An orphan would keep the port and stop the next
  start.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping

BIND = "DISPATCHER_BIND"
INSTALLATION = "DISPATCHER_INSTALLATION"
FRONT = r"(frontend http_frontend\n *bind )(\S+):(\d+)( *\n)"
NO_PATH = """    http-request return status 400 content-type application/problem+json string \
'{"type":"about:blank","title":"The request is malformed","status":400,"detail":"it has no path"}' if !{ path -m beg / }
"""
NO_INTAKE = """    http-response return status 503 content-type application/problem+json hdr Retry-After 1 string \
'{"type":"about:blank","title":"Try again with the same idempotency key","status":503,"detail":"no intake runs"}' \
if { status 404 } { res.hdr(content-type) -m beg text/plain }
"""

EDITS: tuple[tuple[str, str, str], ...] = (
    ("metrics on loopback", r"bind :(\d+)", r"bind 127.0.0.1:\1"),
    ("statistics on loopback", r"bind \*:(\d+)(\n\s*stats enable)", r"bind 127.0.0.1:\1\2"),
    ("header deadline", r"( *timeout client .*\n)", r"\1    timeout http-request 3s\n"),
    ("no path is 400", FRONT, r"\1\2:\3\4" + NO_PATH.replace("\\\n", "")),
    ("no intake is 503", FRONT, r"\1\2:\3\4" + NO_INTAKE.replace("\\\n", "")),
    ("no route yet is 503", r"http-request return status 404 ", r"http-request return status 503 "),
    ("503 stays 503", r" *errorfile 50[234] .*\n", r""),
)
VITAL = ("metrics on loopback", "statistics on loopback", "the address to listen on", "requests are marked")
ADMIN = re.compile(r"^( *stats socket )(\S+)", re.MULTILINE)
CONNECTIONS = re.compile(r"^( *maxconn )(\d+)$", re.MULTILINE)
OWN_FILES = 300
PID = re.compile(rb"^Pid: \d+$", re.MULTILINE)

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
PASSED_ON = (*ENDING, signal.SIGTTOU, signal.SIGTTIN, signal.SIGHUP, signal.SIGQUIT)

DEATHS_MAX = 5
DEATHS_S = 10.0
PAUSE_S = 0.1
"""The pause before a restart grows by this many seconds for each death within DEATHS_S. The first restart has no pause.

The cause of a death may pass by itself, for example a port that is still in use.
"""
ANSWER_S = 1.0
"""The most seconds for an exchange on the admin socket. It usually takes milliseconds.

The wrapper does nothing else during an exchange.
"""


def own_edits(environment: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    """Return the edits that only this installation needs: its mark, and the address to listen on."""
    found = []
    if installation := environment.get(INSTALLATION, ""):
        mark = f"    http-request set-header x-dispatcher-installation {installation}\n"
        found.append(("requests are marked", FRONT, rf"\1\2:\3\4{mark}"))
    if host := environment.get(BIND, ""):
        place = {"0.0.0.0": r"*:\3", "::": r":::\3 v4v6"}.get(host, rf"{host}:\3")
        found.append(("the address to listen on", FRONT, rf"\g<1>{place}\4"))
    return tuple(found)


def edited(text: str, environment: Mapping[str, str] = os.environ) -> tuple[str, list[str]]:
    """Return the configuration `text` with every edit made, and the names of the edits whose pattern matched
    nothing.
    """
    missed = []
    for name, pattern, replacement in (*EDITS, *own_edits(environment)):
        text, count = re.subn(pattern, replacement, text)
        if count == 0:
            missed.append(name)
    return text, missed


def fitting(text: str, open_files: int) -> str:
    """Return the configuration `text` with no more connections than a process can have here.

    `open_files` is the hard limit of a process's open files. HAProxy needs two descriptors for each connection and some
    270 for itself. It ends if it cannot have them. Ray's default needs 10,267 descriptors, while a container or an
    older Linux often allows 1,024 or 4,096. What counts is the limit on the machine where HAProxy runs. So the
    connections are lowered here, and not when the node is prepared.
    """
    if open_files == resource.RLIM_INFINITY:
        return text
    room = max((open_files - OWN_FILES) // 2, 1)
    return CONNECTIONS.sub(lambda found: f"{found[1]}{min(int(found[2]), room)}", text)


def tell(text: str) -> None:
    """Write one line to stderr. If that fails, the line is lost and HAProxy continues."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def beside(path: str, pid: int | str | None = None) -> str:
    """Return the path of a wrapper's own version of Serve's file `path`.

    `pid` is the process id of the wrapper. By default it is this process.
    """
    return f"{path}.{pid or os.getpid()}"


def answering(path: str) -> bool:
    """Return True if a process accepts connections on this Unix socket."""
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
        except OSError:
            return False
        return True


def remove_stale(path: str) -> None:
    """Remove the files that killed wrappers have left beside `path`."""
    folder, name = os.path.split(path)
    for entry in os.listdir(folder or "."):
        stem, _, pid = entry.rpartition(".")
        if stem == name and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, entry))


def die_with_parent(number: signal.Signals) -> None:
    ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG


class Wrapper:
    """Runs one haproxy until it is told to end, or until it dies too often."""

    def __init__(self, binary: str, arguments: list[str], files: list[str], admin: str) -> None:
        self._binary = binary
        self._first, self._again = takeover(arguments, admin)
        self._files = files
        self._public, self._private = admin, beside(admin)
        self._child = 0
        self._served = self._ending = False
        self._deaths: list[float] = []
        self._listener: socket.socket | None = None

    def run(self) -> int:
        """Run haproxy and return the exit code for Serve: haproxy's own code, or 128 + n after signal n."""
        signals = self._listen_to_signals()
        self._start(self._first)
        while True:
            ears: list[int | socket.socket] = [signals] if self._listener is None else [signals, self._listener]
            ready, _, _ = select.select(ears, [], [], None if self._listener else 0.01)
            if self._listener is None and answering(self._private):
                self._answer_for_it()
            if self._listener in ready and self._listener is not None:
                self._pass_question(self._listener)
            for number in os.read(signals, 64) if signals in ready else b"":
                if number != signal.SIGCHLD:
                    self._pass_on(number)
                elif (code := self._died()) is not None:
                    return self._ended(code)

    def _listen_to_signals(self) -> int:
        """Return a pipe from which each signal can be read as one byte.

        A forked child that gets a signal before its exec writes the byte into the same pipe. So the wrapper passes the
        signal on again.
        """
        out, into = os.pipe()
        os.set_blocking(into, False)
        for number in (signal.SIGCHLD, *PASSED_ON):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(into)
        return out

    def _start(self, arguments: list[str]) -> None:
        wrapper = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            try:
                die_with_parent(signal.SIGKILL)
                if os.getppid() == wrapper:
                    os.execv(self._binary, [self._binary, *arguments])
            finally:
                os._exit(127)

    def _answer_for_it(self) -> None:
        """Begin to answer on the admin socket, in place of the previous wrapper, which served until now.

        This is called only when our haproxy serves.
        """
        self._served = True
        self._listener = socket.socket(socket.AF_UNIX)
        draft = f"{self._private}.w"
        self._listener.bind(draft)
        self._listener.listen(16)
        os.rename(draft, self._public)

    def _pass_question(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as caller, socket.socket(socket.AF_UNIX) as admin:
            caller.settimeout(ANSWER_S)
            admin.settimeout(ANSWER_S)
            admin.connect(self._private)  # refused while haproxy is being started again: Serve asks again
            question = b""
            while not question.endswith(b"\n"):
                part = caller.recv(65536)
                if not part:
                    return
                question += part
            admin.sendall(question)
            answer = b"".join(iter(lambda: admin.recv(65536), b""))
            caller.sendall(PID.sub(b"Pid: %d" % os.getpid(), answer))

    def _pass_on(self, number: int) -> None:
        self._ending = self._ending or number in ENDING
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, number)

    def _died(self) -> int | None:
        """Look whether haproxy has died, and start it again if it may be restarted. Return its exit code if it may not.

        Return None if haproxy lives or was started again.
        """
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if pid == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        code = code if code >= 0 else 128 - code
        now_s = time.monotonic()
        recent = [at_s for at_s in self._deaths if now_s - at_s < DEATHS_S]
        if self._ending or not self._served or len(recent) >= DEATHS_MAX:
            return code
        tell(f"haproxy wrapper: haproxy ended unasked, code {code}; starting it again")
        time.sleep(PAUSE_S * len(recent))
        self._deaths = [*recent, now_s]
        self._start(self._again)
        return None

    def _ended(self, code: int) -> int:
        for path in (*self._files, self._private):
            with contextlib.suppress(OSError):
                os.unlink(path)
        return code


def takeover(arguments: list[str], admin: str) -> tuple[list[str], list[str]]:
    """Return two lists of arguments for haproxy: for its first start, and for a restart after a death.

    At a reload Serve adds `-sf PID… -x SOCKET`. The pids belong to wrappers, which pass the signals on. The listening
    sockets come from the haproxy of the first of these wrappers. After a death no other haproxy exists to take over
    from.
    """
    again = list(arguments)
    for argument in ("-sf", "-st", "-x"):
        if argument in again:
            at = end = again.index(argument)
            while end + 1 < len(again) and not again[end + 1].startswith("-"):
                end += 1
            del again[at : end + 1]
    first = list(arguments)
    if "-x" in first:
        at = first.index("-x")
        old = first[first.index("-sf") + 1] if "-sf" in first else None
        behind = beside(admin, old)
        if old is not None and answering(behind):
            first[at + 1] = behind
        else:  # haproxy would not start without it; without -x it asks the old one to let go of the port
            del first[at : at + 2]
    return first, again


def moved_aside(text: str) -> tuple[str, str] | None:
    """Return the configuration with a private admin socket, and the path of the admin socket that Serve uses.

    Return None if the configuration has no admin socket.
    """
    found = ADMIN.search(text)
    return None if found is None else (ADMIN.sub(lambda m: m[1] + beside(m[2]), text), found[2])


def rewritten(path: str) -> tuple[str, str | None]:
    """Write our version of Serve's configuration file. Return its path, and the path of the admin socket.

    The second path is None if the configuration has no admin socket. Exits with a message if a `VITAL` edit is missing.
    """
    with open(path) as file:
        text, missed = edited(file.read())
    text = fitting(text, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    for name in missed:
        tell(f"haproxy wrapper: EDIT NOT MADE: {name}")
    if vital := [name for name in missed if name in VITAL]:
        sys.exit(f"haproxy wrapper: refusing to start without: {', '.join(vital)}")
    admin = None
    if moved := moved_aside(text):
        text, admin = moved
        remove_stale(admin)
    else:
        tell("haproxy wrapper: no admin socket: haproxy will not be started again if it dies")
    remove_stale(path)
    with open(beside(path), "w") as file:
        file.write(text)
    return beside(path), admin


def main(arguments: list[str]) -> int:
    """Run haproxy and return its exit code.

    Without a configuration file, or without an admin socket in it, this process becomes haproxy itself.
    """
    binary, arguments = arguments[0], arguments[1:]
    with contextlib.suppress(OSError):  # it inherits that of a process that starts; every accept goes through it
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    die_with_parent(signal.SIGTERM)
    admin = None
    files = []
    for at, argument in enumerate(arguments[:-1]):
        if argument == "-f" and os.path.isfile(arguments[at + 1]):
            arguments[at + 1], admin = rewritten(arguments[at + 1])
            files.append(arguments[at + 1])
    if admin is None:
        os.execv(binary, [binary, *arguments])
    return Wrapper(binary, arguments, files, admin).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
