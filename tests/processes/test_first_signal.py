"""Tests a SIGTERM that comes while the program is still being imported."""

from __future__ import annotations

import signal
import subprocess
import sys

FIRST_PROCESS = """
import os, signal, sys, time
own = os.getpid()
os.getpid = lambda: 1
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as the kernel treats it for the first process of a container
import cluster.cli
os.kill(own, signal.SIGTERM)
time.sleep(30)
sys.exit("the signal was lost")
"""


def test_the_first_process_of_a_container_ends_by_a_signal_before_all_is_imported() -> None:
    """Process 1 of a container gets SIGTERM before its imports are done. It exits with 128 + SIGTERM.

    The kernel ignores SIGTERM for process 1 unless it has a handler.
    """
    done = subprocess.run([sys.executable, "-c", FIRST_PROCESS], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")


def test_another_process_keeps_its_own_handlers() -> None:
    """A process that imports the command line, and is not process 1, keeps the default handler of SIGTERM."""
    code = "import signal, cluster.cli; assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
