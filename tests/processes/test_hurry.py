"""Tests that our processes have the usual priority during a start, and that vendor actors have a low one afterwards."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time

import pytest

from cluster.local.hurry import hurried
from cluster.local.ray_settings import may_raise
from cluster.local.state_directory import MARKER


def settled(pids: list[int], expected: list[int]) -> bool:
    until_s = time.monotonic() + 10
    while time.monotonic() < until_s:
        if [os.getpriority(os.PRIO_PROCESS, pid) for pid in pids] == expected:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not may_raise(), reason="priorities may not be raised here")
def test_all_hurry_and_then_dispatch_gives_way() -> None:
    """An intake and a vendor actor have niceness 10. Inside the block of `hurried` both get niceness 0.

    After the block the vendor actor has niceness 10 again, and intake keeps 0.
    """
    marker = secrets.token_hex(8)
    program = "import os, time; os.nice(10); time.sleep(60)"
    words = ("ray::ServeReplica:intake", "ray::ServeReplica:vendor-a")
    started = [
        subprocess.Popen([sys.executable, "-c", program, word], env={**os.environ, MARKER: marker}) for word in words
    ]
    pids = [process.pid for process in started]
    try:
        assert settled(pids, [10, 10])
        with hurried(marker, may=True):
            assert settled(pids, [0, 0])
        assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in pids] == [0, 10]
    finally:
        for process in started:
            process.kill()
            process.wait()
