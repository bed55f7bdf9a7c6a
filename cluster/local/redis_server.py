"""A private Redis for one machine, with an append-only file, fsync for every write, and a Unix socket.

Two servers on one directory silently lost 100 of 300 acknowledged writes in a trial. So Redis inherits a file lock on
its directory. The lock is held until *Redis* dies, even if the program that started it died before. A second `up` uses
the running server of the same directory, or refuses to start with a message that names the directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cluster.local import redis_binary
from cluster.local.state_directory import MARKER
from dispatcher.errors import ConfigError

START_S = 30.0  # an AOF of some gigabytes loads in that
TRIES = 3
"""How often a server is launched that is killed before it answers. One that ends by itself is launched once."""
MEMORY_BYTES_MAX = 1 << 30
FULL_BYTES = 65_536  # with less free space a server cannot write its first files


class RedisServer:
    """One private server. `start` starts it, or uses the server that already runs on the directory."""

    def __init__(self, folder: Path, socket: Path, memory_bytes_max: int = MEMORY_BYTES_MAX) -> None:
        self.folder, self._socket = folder, socket
        self._memory_bytes_max = memory_bytes_max
        self._process: subprocess.Popen[bytes] | None = None
        self.adopted = False
        self._adopted_pid: int | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> int:
        """Start the server, or use the running one. Wait until it answers, and return its pid.

        Raises ConfigError if the directory is locked by a server that does not answer on our socket.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / "redis.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            until = time.monotonic() + START_S
            while not _locked(lock):
                with contextlib.suppress(redis.RedisError, OSError):  # it starts, loads, or is about to end
                    return self._adopt()
                if time.monotonic() > until:
                    raise ConfigError(f"{self.folder}: another Redis holds this directory and does not answer here")
                time.sleep(0.02)
            return self._spawn(lock)
        finally:
            os.close(lock)  # the server's own copy keeps the lock

    def alive(self) -> bool:
        """Return True if the server's process exists. A process that does not answer (frozen, loading) counts as
        alive.
        """
        if self._process is not None:
            return self._process.poll() is None
        return self._adopted_pid is None or not _gone(self._adopted_pid)

    def stop(self) -> None:
        """Stop the server without a snapshot. Acknowledged writes are on disk already."""
        pid = self.pid()
        with contextlib.suppress(redis.RedisError, OSError):
            self.client().shutdown(nosave=True)
        if pid is not None:
            _wait_gone(pid, 5.0)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2.0)

    def client(self) -> redis.Redis:
        """Return a client that tries each command once.

        With redis-py's ten retries a stop took four seconds, because SHUTDOWN has no answer.
        """
        return redis.Redis(
            unix_socket_path=str(self._socket),
            socket_timeout=5.0,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )

    def pid(self) -> int | None:
        try:
            return int(self.client().info("server")["process_id"])
        except (redis.RedisError, OSError):
            return None if self._process is None else self._process.pid

    def _adopt(self) -> int:
        directory = str(self.client().config_get("dir")["dir"])
        if Path(directory).resolve() != self.folder.resolve():
            raise ConfigError(f"{self._socket}: is a Redis of {directory}, not of {self.folder}")
        self.adopted = True
        self._adopted_pid = int(self.client().info("server")["process_id"])
        return self._adopted_pid

    def _spawn(self, lock: int) -> int:
        server = redis_binary.binary(self.folder)
        until = time.monotonic() + START_S
        self._process = self._launch(server.path, lock)
        tries = 1
        while not self._answers(self._process, until):
            if self._process.returncode > 0 or tries == TRIES:
                killed = f", by signal {-self._process.returncode}" if self._process.returncode < 0 else ""
                log = self.folder / "redis.log"
                raise ConfigError(f"redis-server ended at once{killed}{self._last_line()}; see {log}")
            self._process = self._launch(server.path, lock)
            tries += 1
        redis_binary.note(self.folder, server)
        return self._process.pid

    def _launch(self, path: str, lock: int) -> subprocess.Popen[bytes]:
        self._socket.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if name != MARKER}
        with (self.folder / "redis.log").open("ab") as log:
            return subprocess.Popen(
                [path, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment,  # without the run marker: it outlives what the marker names
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C in the terminal must not stop it under the drain
            )

    def _last_line(self) -> str:
        """Return the last line of the server's log as the end of a sentence.

        If the disk is full, return a text that says so. If there is no log, return an empty text.
        """
        with contextlib.suppress(OSError):
            found = os.statvfs(self.folder)
            if found.f_bavail * found.f_frsize < FULL_BYTES:
                return f": the disk of {self.folder} is full"
            lines = (self.folder / "redis.log").read_text(errors="replace").strip().splitlines()
            return f": {lines[-1].strip()}" if lines else ""
        return ""

    def _arguments(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "save": "",  # a failed snapshot would turn every write into an error
            "maxmemory": str(self._memory_bytes_max),
            "maxmemory-policy": "noeviction",
            # A record is one small hash; as a list pack it takes a third of the memory. (Redis 7 knows the old names.)
            "hash-max-ziplist-entries": "512",
            "hash-max-ziplist-value": "4096",
            "daemonize": "no",
            "loglevel": "notice",
        }
        return [part for name, value in settings.items() for part in (f"--{name}", value)]

    def _answers(self, process: subprocess.Popen[bytes], until_s: float) -> bool:
        """Wait until the server answers. Return False if its process has ended before.

        Raises ConfigError if it still lives at `until_s` and does not answer.
        """
        while time.monotonic() < until_s:
            if process.poll() is not None:
                return False
            try:
                self.client().ping()
                return True
            except (redis.BusyLoadingError, redis.ConnectionError, redis.TimeoutError, OSError):
                time.sleep(0.02)
        raise ConfigError(f"redis-server does not answer on {self._socket}; see {self.folder / 'redis.log'}")


def _locked(descriptor: int) -> bool:
    """Try to take the lock. Return False if another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _gone(pid: int) -> bool:
    """Return True if the process has ended, even if its parent has not yet read the exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _wait_gone(pid: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if _gone(pid):
            return
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
