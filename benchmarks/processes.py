"""Starts a private Redis, the sandbox vendors and workers for a benchmark, and reads the CPU time of each.

CPU time is read from the kernel, for our processes and for peers alike. So it does not depend on what a program
reports about itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster.local.redis_server import RedisServer
from cluster.rehearsal.sandbox.ledger import Delivery
from cluster.rehearsal.sandbox.process import start_sandbox

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """Yield a folder with a short path, and remove it at the end. The path of a Unix socket may have only 107 bytes.

    Inside the block, SIGTERM ends this process as an exception does, so that what the benchmark started is stopped.
    """
    folder, before = Path(tempfile.mkdtemp(prefix="nd-bench-")), None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def private_redis(folder: Path, memory_bytes_max: int = 1 << 30) -> Iterator[RedisServer]:
    """Yield a running Redis with the settings of `dispatcher up`: append-only, fsync always."""
    server = RedisServer(folder / "redis", folder / "r.sock", memory_bytes_max)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Sandbox:
    """The sandbox vendors, as a process of their own."""

    def __init__(self, latency_ms: float = 50.0) -> None:
        self._process, self.url, self.smtp_port = start_sandbox("--latency-ms", str(latency_ms))

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_sandbox{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def accepted(self, vendor: str) -> int:
        return int(self._call("GET", f"/{vendor}/received")["accepted"])

    def received(self, vendor: str) -> list[Delivery]:
        found: list[Delivery] = self._call("GET", f"/{vendor}/received?full=1")["received"]
        return found

    def fault(self, vendor: str, **fault: Any) -> None:
        self._call("PUT", f"/{vendor}/fault", fault)

    def reset(self) -> None:
        self._call("DELETE", "")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


class Worker:
    """A program that runs in a session of its own. All processes of the session count, and `stop` ends them all."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path, folder: Path) -> None:
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=folder,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        self.pid = self._process.pid

    def running(self) -> bool:
        return self._process.poll() is None

    def cpu_s(self) -> float:
        return cpu_s(session(self.pid))

    def tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-25:])

    def stop(self, patience_s: float = 10.0) -> None:
        """Send SIGTERM to the first process. After at most `patience_s` seconds, kill the rest of its session."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        for pid in session(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


def session(leader: int) -> list[int]:
    """Return the ids of all processes of the session whose first process is `leader`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None and int(fields[3]) == leader:
                found.append(int(entry.name))
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds, user and system, that these processes and their ended children have used.

    A process's own time comes from its CPU clock, which Linux numbers by the pid (clock_getcpuclockid). This is exact,
    while /proc counts hundredths of a second. Only /proc has the time of ended children.
    """
    total = 0.0
    for pid in pids:
        fields = _stat(pid)
        if fields is not None:
            with contextlib.suppress(OSError):  # ended in between
                total += time.clock_gettime((~pid << 3) | 2)
            total += (int(fields[13]) + int(fields[14])) * TICK_S
    return total


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third (the state) on, or None if the process has ended.

    The second field may contain spaces.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def until(reached: Any, seconds: float, every_s: float = 0.05) -> bool:
    """Wait until `reached()` is true, and return True. If it is not true after `seconds`, return False."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if reached():
            return True
        time.sleep(every_s)
    return bool(reached())
