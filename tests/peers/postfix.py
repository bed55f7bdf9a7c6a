"""Runs a postfix of our own on loopback ports, with its own queue.

Debian's package is unpacked for it, not installed.

Only root can start a postfix, because every postfix drops privileges. If a package cannot be downloaded, the test
fails and names it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

FETCH_S_MAX = 300
START_S_MAX = 60.0
STOP_S_MAX = 20.0

PACKAGE = "postfix"
QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")

SERVICES = """
smtp      unix - - n - - smtp
rewrite   unix - - n - - trivial-rewrite
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
error     unix - - n - - error
retry     unix - - n - - error
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
tlsmgr    unix - - n 1000? 1 tlsmgr
proxymap  unix - - n - - proxymap
postlog   unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Program:
    """The folders of one postfix, and the environment in which its programs find their libraries."""

    root: Path
    environment: dict[str, str]

    @property
    def daemons(self) -> Path:
        return self.root / "usr/lib/postfix/sbin"


def program() -> Program:
    """Return the machine's own postfix, or Debian's package unpacked below this virtual environment."""
    if os.geteuid() != 0:
        pytest.fail(f"the Debian package {PACKAGE} cannot be used: postfix starts as root only", pytrace=False)
    if Path("/usr/lib/postfix/sbin/master").exists():
        return Program(Path("/"), dict(os.environ))
    folder = Path(sys.prefix) / "peers" / PACKAGE
    if not (folder / "root").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _unpack(folder)
    libraries = [folder / "root/usr/lib/postfix", *(folder / "root/usr/lib").glob("*-linux-gnu")]
    path = ":".join([*map(str, libraries), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    return Program(folder / "root", {**os.environ, "LD_LIBRARY_PATH": path})


def _unpack(folder: Path) -> None:
    """Download the Debian package of postfix and the libraries that it depends on, and unpack them into `folder`.

    A bare machine does not have all of these libraries.
    """
    for word in ("apt-get", "apt-cache", "dpkg"):
        if shutil.which(word) is None:
            pytest.fail(f"the Debian package {PACKAGE} cannot be had: there is no {word}", pytrace=False)
    if _apt(folder, "apt-cache", "show", PACKAGE).returncode != 0:
        _apt(folder, "apt-get", "update", "-qq")
    depends = _apt(folder, "apt-cache", "depends", "--important", PACKAGE).stdout.split()
    wanted = [PACKAGE, *(word for word in depends if word.startswith("lib"))]
    done = _apt(folder, "apt-get", "download", "-qq", *wanted)
    if done.returncode != 0:  # the list of packages may be older than the archive
        _apt(folder, "apt-get", "update", "-qq")
        done = _apt(folder, "apt-get", "download", "-qq", *wanted)
    if done.returncode != 0:
        pytest.fail(f"the Debian package {PACKAGE} cannot be had: {done.stderr[-300:]}", pytrace=False)
    draft = folder / "draft"
    for archive in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", archive, draft], check=True)
    draft.rename(folder / "root")


def _apt(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=FETCH_S_MAX, cwd=folder, check=False)


class Postfix:
    """One running postfix in `folder`. Every user must be able to enter the parents of `folder`.

    `ports` maps each port to the options of its smtpd.
    """

    def __init__(self, folder: Path, settings: dict[str, str], ports: dict[int, dict[str, str]]) -> None:
        self.folder, self._settings, self._ports = folder, settings, ports
        self._program = program()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        path = self.folder / "postfix.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start postfix and wait until it answers on all ports."""
        self._write()
        words = [str(self._program.daemons / "master"), "-d", "-c", str(self.folder / "etc")]
        with (self.folder / "master.log").open("wb") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._program.environment,
                start_new_session=True,  # at its end it signals its process group, which must be its own
            )
        until = time.monotonic() + START_S_MAX
        for port in self._ports:
            while not _listens(port):
                if self._process.poll() is not None or time.monotonic() > until:
                    said = (self.folder / "master.log").read_text() + self.log
                    self.stop()
                    pytest.fail(f"postfix does not start: {said[-1500:]}", pytrace=False)
                time.sleep(0.02)

    def stop(self) -> None:
        """End the master process of postfix. Its daemons end with it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write(self) -> None:
        owner = _account("postfix", "mail")
        etc, queue, data = (self.folder / name for name in ("etc", "queue", "data"))
        for path in (etc, queue, data):
            path.mkdir()
        for name in (*QUEUES, "public", "maildrop", "pid"):
            (queue / name).mkdir(mode=0o755)
            if name != "pid":
                os.chown(queue / name, owner.pw_uid, 0)
        os.chown(data, owner.pw_uid, 0)
        settings = {
            "queue_directory": queue,
            "data_directory": data,
            "daemon_directory": self._program.daemons,
            "command_directory": self._program.root / "usr/sbin",
            "mail_owner": owner.pw_name,
            "default_privs": "nobody",
            "setgid_group": "news" if owner.pw_name == "mail" else "postdrop",
            "maillog_file": self.folder / "postfix.log",
            "maillog_file_prefixes": self.folder,
            "import_environment": "MAIL_CONFIG LD_LIBRARY_PATH TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME",
            "compatibility_level": "3.6",
            "inet_interfaces": "loopback-only",
            "inet_protocols": "ipv4",
            "myhostname": "relay.example.net",
            "mydestination": "",
            "alias_maps": "",
            "local_recipient_maps": "",
            **self._settings,
        }
        (etc / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        lines = [
            f"127.0.0.1:{port} inet n - n - - smtpd"
            + "".join(f"\n  -o {{{name} = {value}}}" for name, value in own.items())
            for port, own in self._ports.items()
        ]
        (etc / "master.cf").write_text("\n".join([*lines, SERVICES.lstrip()]))


def _account(*names: str) -> pwd.struct_passwd:
    for name in names:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.fail(f"postfix needs one of the accounts {', '.join(names)}", pytrace=False)


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
