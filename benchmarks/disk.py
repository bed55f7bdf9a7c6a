"""Measures how long the disk takes for a small append and its fdatasync, beside another measurement.

    python -m benchmarks.disk FILE

An accept cannot be faster than the disk write that it waits for. If slow accepts come together with slow writes here,
then the disk is slow, or another program writes to it. The module runs as a process of its own, so it waits for the
disk and for no lock of ours. It still shares the cores with all other processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from cluster.rehearsal.provenance import ROOT

PERIOD_S = 0.05
BYTES = b"x" * 1000


class Disk:
    """Appends 1,000 bytes to a file in `folder` every 50 ms inside the `with` block.

    `duration_ms` holds the time of each append and its fdatasync after the block.
    """

    def __init__(self, folder: Path) -> None:
        self.duration_ms: list[float] = []
        self._command = [sys.executable, "-m", "benchmarks.disk", str(folder / "fdatasync")]

    def __enter__(self) -> Disk:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it has begun
        return self

    def __exit__(self, *_: object) -> None:
        answer, _error = self._process.communicate()  # the end of its input ends it
        self.duration_ms = [float(line) for line in answer.splitlines()]


def main(path: str) -> None:
    os.set_blocking(sys.stdin.fileno(), False)
    duration_ms: list[float] = []
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    print("ready", flush=True)
    while _is_open(sys.stdin.fileno()):
        time.sleep(PERIOD_S)
        began_s = time.perf_counter()
        os.write(fd, BYTES)
        os.fdatasync(fd)
        duration_ms.append((time.perf_counter() - began_s) * 1000)
    print("\n".join(f"{ms:.4f}" for ms in duration_ms))


def _is_open(fd: int) -> bool:
    try:
        return os.read(fd, 1) != b""
    except BlockingIOError:
        return True


if __name__ == "__main__":
    main(sys.argv[1])
