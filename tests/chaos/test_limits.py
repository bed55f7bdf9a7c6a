"""Fault matrix rows 39 and 41: a process has no more file descriptors; nothing that it logs can be written.

Steady state: 60 triggers/s, an SMS each, 50 ms vendors. What Ray's own processes do on a full disk is not shown.
"""

from __future__ import annotations

import os
import resource

import pytest

from tests.chaos.bench.installation import Bench, paid
from tests.chaos.conftest import MakeBench

pytestmark = pytest.mark.chaos

RATE = 60.0
IN_FLIGHT = 30
NONE_MORE = 3
"""As a limit of descriptors: those of the standard streams are taken, so that no new one can be had."""


@pytest.mark.parametrize(
    "name",
    ["intake", *(pytest.param(name, marks=pytest.mark.long) for name in ("sms-a", "supervisor"))],
)
def test_without_file_descriptors_it_refuses_and_comes_back(bench: Bench, name: str) -> None:
    """Row 39: no new connection for 2 s, though Redis restarts or, for an actor, its vendor slows down: all is well."""
    pid = bench.workers[name].pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def use_up() -> None:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (NONE_MORE, before[1]))
        if name == "sms-a":
            bench.sandbox.fault("sms-a", "slow", latency_ms=500)  # calls overlap, and want more connections
        else:
            bench.restart_redis(0.1)

    def give_back() -> None:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    posted = bench.post(paid(210), RATE, (0.5, use_up), (2.5, give_back))
    found = bench.judge(posted)
    assert found.verdict.accepted == 210
    assert found.states == {"settled": 210}
    assert (found.lost, found.contradictions) == ([], [])
    assert found.verdict.repeats <= IN_FLIGHT
    assert bench.deaths == 0, "it died of it"
    assert name != "intake" or any((p.accept_ms or 0) > 1000 for p in posted), "nobody was kept waiting"


@pytest.mark.parametrize("how", ["no space", pytest.param("nobody reads", marks=pytest.mark.long)])
def test_logs_that_cannot_be_written_stop_nothing(make_bench: MakeBench, how: str) -> None:
    """Row 41: ENOSPC from the first line on, or a pipe whose reader has gone: delivered, moved, refused as ever."""
    bench = make_bench()
    reader = None
    if how == "no space":
        bench.log_to = "/dev/full"
    else:
        bench.log_to = str(bench.folder / "fifo")
        os.mkfifo(bench.log_to)
        reader = os.open(bench.log_to, os.O_RDONLY | os.O_NONBLOCK)
    bench.start()
    if reader is not None:
        os.close(reader)
    first = bench.post(paid(60), RATE, (0.3, lambda: bench.sandbox.fault("sms-a", "error")))
    bench.until(lambda: bench.plan()["sms-a"]["state"] != "closed", 5)
    bench.sandbox.fault("sms-b", "reject")
    second = bench.post(paid(30), RATE)
    bench.until(lambda: bench.judge(second, settled=False).states["dead"] == 30, 10)
    bench.sandbox.fault("sms-a")
    bench.sandbox.fault("sms-b")
    bench.workers["sms-a"].kill()
    bench.until(lambda: bench.deaths == 1, 5)
    third = bench.post(paid(60), RATE)
    found = bench.judge(first + second + third)
    assert found.verdict.accepted == 150
    assert (found.lost, found.contradictions) == ([], [])
    dead = found.states["dead"]  # the second batch, and who of the first came late
    assert found.states == {"settled": 150 - dead, "dead": dead}
    assert 30 <= dead <= 40
    assert found.reasons == {"vonage_7": dead}
    assert bench.deaths == 1
