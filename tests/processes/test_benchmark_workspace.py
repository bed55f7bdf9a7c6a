"""Tests that a benchmark that is ended by SIGTERM stops what it has started."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import subprocess, sys, time
from benchmarks.processes import workspace
with workspace() as folder:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        print(folder, flush=True)
        time.sleep(60)
    finally:
        child.kill()
        print(child.wait(), flush=True)
"""


def test_sigterm_ends_a_benchmark_like_an_exception() -> None:
    """After SIGTERM the benchmark's `finally` runs, its folder is gone, and the exit code is that of a SIGTERM."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        process.terminate()
        assert process.stdout.read() == f"{-signal.SIGKILL}\n"
    assert process.returncode == 128 + signal.SIGTERM
    assert not folder.exists()
