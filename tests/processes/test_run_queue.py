"""Tests that `RunQueue` tells how long a process wanted a core and did not get it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from dispatcher.adapters.run_queue import RunQueue

BUSY = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.nice(int(sys.argv[2]))\nwhile True: pass"

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="this system does not count it")


@pytest.fixture
def starved() -> Iterator[int]:
    """Yield the pid of a busy process with the lowest priority, on a core that two other busy processes use."""
    core = str(min(os.sched_getaffinity(0)))
    processes = [subprocess.Popen([sys.executable, "-c", BUSY, core, nice]) for nice in ("19", "0", "0")]
    try:
        time.sleep(0.5)
        yield processes[0].pid
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_starved_process_waits_and_a_frozen_one_does_not(starved: int) -> None:
    """A starved process waits for more than half of the time. After SIGSTOP it does not wait any more."""
    queue = RunQueue()
    assert queue.waited_ms(starved) == 0.0
    began_s, waited_ms, duration_ms = time.monotonic(), 0.0, 0.0
    while duration_ms == 0.0 or waited_ms < 0.5 * duration_ms:  # a wait counts only when it has ended
        assert duration_ms < 20_000.0
        time.sleep(1.0)
        waited_ms += queue.waited_ms(starved)
        duration_ms = (time.monotonic() - began_s) * 1000
    os.kill(starved, signal.SIGSTOP)
    until = time.monotonic() + 20.0
    while queue.waited_ms(starved) > 0.0:  # it needs a core once more to obey
        assert time.monotonic() < until
        time.sleep(0.5)


def test_nothing_is_known_of_who_is_gone() -> None:
    queue = RunQueue()
    assert queue.waited_ms(2**22 + 1) == 0.0
    assert queue.waited_ms(os.getpid()) == 0.0
    assert 0.0 <= queue.waited_ms(os.getpid()) < 60_000.0
