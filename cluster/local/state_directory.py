"""The state directory, its locks, and the processes that belong to it.

Everything `up` starts inherits the run marker in its environment, so "ours" is a question that /proc can answer after
any crash, without pid files that lie.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import signal
import socket
import stat
import time
from pathlib import Path

from dispatcher.errors import ConfigError

MARKER = "DISPATCHER_RUN"


class StateDirectory:
    """One installation's directory, mode 0700."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.marker = hashlib.sha256(str(self.path).encode()).hexdigest()[:16]
        self.redis_url_file = self.path / "redis_url"
        self.api_keys = self.path / "api_keys.json"
        self.urls = self.path / "urls.json"
        self.token = self.path / "ray_token"
        self.identity = self.path / "installation_id"
        self._lock: int | None = None
        self._kept: list[int] = []

    def prepare(self) -> None:
        """Make what is not there yet. Raises ConfigError where nothing can be written."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            for path, size in ((self.token, 32), (self.identity, 8)):
                if not path.is_file() or not path.stat().st_size:
                    self.write_secret(path, secrets.token_hex(size))
        except OSError as error:
            raise ConfigError(f"{error.filename or self.path}: cannot be written: {error.strerror}") from None

    def lock(self) -> None:
        """Take the directory for this process; ConfigError names the one that has it."""
        descriptor = os.open(self.path / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 20, 0).decode().strip() or "unknown"
            os.close(descriptor)
            raise ConfigError(f"{self.path}: a dispatcher is already running there, pid {pid}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._lock = descriptor

    def write_secret(self, path: Path, text: str) -> None:
        """Write a file that only its owner may read, whole or not at all."""
        draft = path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        draft.rename(path)

    def runtime_dir(self) -> Path:
        """A short private directory for sockets: HAProxy allows 27 characters, Unix sockets 107."""
        path = Path(f"/tmp/nd-{self.marker[:8]}")
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigError(f"{path}: is not a directory of ours; remove it")
        path.chmod(0o700)
        return path

    def keep(self, path: Path) -> None:
        """Hold a lock on a directory below /tmp: systemd-tmpfiles, which cleans /tmp by age, spares what is locked."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self._kept.append(descriptor)


def processes_of(marker: str) -> dict[int, str]:
    """Every process of ours whose environment carries `marker`: pid → command line."""
    found = {}
    wanted = f"{MARKER}={marker}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if command:  # a zombie has none
                    found[int(entry.name)] = command
        except OSError:
            continue
    return found


def give_way(marker: str, names: tuple[str, ...], niceness: int) -> None:
    """Lower the priority of every thread of those of ours whose command line holds one of `names`."""
    for pid, command in processes_of(marker).items():
        if any(name in command for name in names):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                for thread in os.listdir(f"/proc/{pid}/task"):
                    os.setpriority(os.PRIO_PROCESS, int(thread), niceness)


def reap(marker: str, patience_s: float = 3.0) -> int:
    """End what an earlier life left: SIGTERM, then SIGKILL. Answers how many there were."""
    first = processes_of(marker)
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
        until = time.monotonic() + wait_s
        for pid in processes_of(marker):
            _signal(pid, number)
        while processes_of(marker) and time.monotonic() < until:
            time.sleep(0.05)
    return len(first)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def free_port() -> int:
    """A TCP port that nobody listens on, outside what others draw from.

    It is bound seconds after it is chosen, so it must not lie where the kernel takes ports for outgoing connections
    (from 32768), nor in Ray's ranges (10002 to 19999 for workers, from 30000 for Serve's replicas).
    """
    for _ in range(100):
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ConfigError("no free TCP port between 20000 and 29999")
