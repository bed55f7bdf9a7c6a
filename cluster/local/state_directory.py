"""Manages the state directory, its lock, and the processes that belong to the installation.

Every process that `up` starts inherits a marker in its environment. So after a crash /proc still shows which processes
are ours. A file with process ids could be out of date.
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
from collections.abc import Iterator, Sequence
from pathlib import Path

from dispatcher.errors import ConfigError

MARKER = "DISPATCHER_RUN"

RUNTIME_BYTES_MIN = 50_000_000
"""The least free space below /tmp for a start, in bytes. Ray writes its logs and sockets there.

Without any space Ray does not end, and does not get ready either.
"""


class StateDirectory:
    """The directory of one installation. Only its owner may read it (mode 0700)."""

    def __init__(self, path: Path) -> None:
        """Note the path. Raises ConfigError if `path` is relative and the current directory was removed."""
        self.path = absolute(path)
        self.marker = hashlib.sha256(str(self.path).encode()).hexdigest()[:16]
        self.redis_url_file = self.path / "redis_url"
        self.api_keys = self.path / "api_keys.json"
        self.urls = self.path / "urls.json"
        self.token = self.path / "ray_token"
        self.identity = self.path / "installation_id"
        self._lock: int | None = None
        self._kept: list[int] = []

    def prepare(self) -> None:
        """Make the directory and the files that do not exist yet. Raises ConfigError if they cannot be written."""
        with writable(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            for path, size in ((self.token, 32), (self.identity, 8)):
                if not path.is_file() or not path.stat().st_size:
                    self.write_secret(path, secrets.token_hex(size))

    def lock(self) -> None:
        """Lock the directory for this process. If another process has the lock, raise ConfigError that names this
        process.

        Also raises ConfigError if the file system of the directory has no locks, as some network shares have none.
        """
        file = self.path / "up.lock"
        with writable(file):
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            except OSError as error:
                pid = os.pread(descriptor, 20, 0).decode().strip() or "unknown"
                os.close(descriptor)
                if isinstance(error, BlockingIOError):
                    raise ConfigError(f"{self.path}: a dispatcher is already running there, pid {pid}") from None
                raise
        self._lock = descriptor

    def write_secret(self, path: Path, text: str) -> None:
        """Write a file that only its owner may read. A crash leaves either the whole new file or the old one.

        Raises ConfigError if it cannot be written.
        """
        draft = path.with_suffix(".new")
        with writable(path):
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            draft.rename(path)

    def runtime_dir(self) -> Path:
        """Make and return a private directory with a short path, for sockets.

        HAProxy allows paths of 27 characters, Unix sockets 107. Raises ConfigError if the path belongs to somebody
        else, or cannot be written.
        """
        path = Path(f"/tmp/nd-{self.marker[:8]}")
        with writable(path):
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise ConfigError(f"{path}: is not a directory of ours; remove it")
            path.chmod(0o700)
        return path

    def keep(self, path: Path) -> None:
        """Hold a lock on a directory below /tmp until this process ends.

        systemd-tmpfiles deletes old files in /tmp, but no directory that is locked.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self._kept.append(descriptor)


def absolute(path: Path) -> Path:
    """Return `path` as an absolute path. Raises ConfigError if that needs a current directory that was removed."""
    try:
        return path.absolute()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: is relative to the current directory, which was removed; change to another"
        ) from None


@contextlib.contextmanager
def writable(place: Path) -> Iterator[None]:
    """Raise ConfigError if the machine refuses to write a file inside the context.

    The error names the file that was refused, or `place` if that file is not known.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{error.filename or place}: cannot be written: {error.strerror}") from None


def make_folder(folder: Path) -> None:
    """Make a private folder if it is missing. Raises ConfigError if this is not possible."""
    with writable(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def check_room(folder: Path, least_bytes: int = RUNTIME_BYTES_MIN) -> None:
    """Raise ConfigError if the file system of `folder` has less than `least_bytes` bytes that this user may write."""
    found = os.statvfs(folder)
    free_bytes = found.f_bavail * found.f_frsize
    if free_bytes < least_bytes:
        mega = f"{free_bytes / 1e6:.1f} MB are free there, {least_bytes / 1e6:.0f} MB are needed for a start"
        raise ConfigError(f"{folder}: {mega}")


def processes_of(marker: str) -> dict[int, str]:
    """Return the other processes whose environment carries `marker`, as process id → command line."""
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
    """Lower the priority of our processes whose command line contains one of `names`, with all their threads."""
    for pid, command in processes_of(marker).items():
        if any(name in command for name in names):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                for thread in os.listdir(f"/proc/{pid}/task"):
                    os.setpriority(os.PRIO_PROCESS, int(thread), niceness)


REAP_S = 3.0


def reap(marker: str, patience_s: float = REAP_S, spare: Sequence[int] = ()) -> int:
    """End the processes that an earlier run left, with SIGTERM and after `patience_s` seconds with SIGKILL.

    The processes whose ids are in `spare` are left alone. Return how many processes there were.
    """

    def left() -> set[int]:
        return set(processes_of(marker)) - set(spare)

    first = left()
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
        until = time.monotonic() + wait_s
        for pid in left():
            _signal(pid, number)
        while left() and time.monotonic() < until:
            time.sleep(0.05)
    return len(first)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def free_port() -> int:
    """Return a TCP port from 20000 to 29999 on which nothing listens now.

    No other call gets it while this process lives.
    The port is used only seconds later. So it must not be in the kernel's range for outgoing connections (from 32768),
    nor in Ray's ranges (10002 to 19999 for workers, from 30000 for Serve's replicas). A socket with a name of its own
    in Linux's abstract namespace claims it until then. The kernel ends the claim with the process.
    """
    for _ in range(100):
        port = 20_000 + secrets.randbelow(10_000)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0dispatcher-port-{port}")
            with socket.socket() as s:
                s.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
    raise ConfigError("no free TCP port between 20000 and 29999")


_claims: list[socket.socket] = []
"""The sockets that claim the ports that this process was given."""
