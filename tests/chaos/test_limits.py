"""Rows 39 and 41 of docs/faults.md: a process has no file descriptors or no memory left, or its logs cannot be written.

Steady state: 60 triggers a second, each with one SMS, and vendors that answer after 50 ms. What Ray's own processes do
on a full disk is not tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.chaos.bench.installation import Bench, MakeBench, paid
from tests.chaos.policies import policies

pytestmark = pytest.mark.chaos

RATE = 60.0
IN_FLIGHT = 30
NONE_MORE = 3
"""A limit of descriptors that only the standard streams fill, so that no new one can be opened."""
NO_ANSWER, MALFORMED = "none", "400 Invalid HTTP request received."
CALLS_MAX = 64
"""Calls that one vendor actor may have in flight."""


@pytest.mark.parametrize(
    "name",
    ["intake", *(pytest.param(name, marks=pytest.mark.long) for name in ("sms-a", "supervisor"))],
)
@policies
def test_without_file_descriptors_it_refuses_and_comes_back(bench: Bench, name: str, policy: str) -> None:
    """Row 39 of docs/faults.md: a process can open no connection for 2 s.

    Each process is made to need new connections. For intake and the supervisor Redis restarts. For the vendor actor its
    vendor becomes slow. The process stays alive, and everything is delivered afterwards.
    """
    pid = bench.workers[name].pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def use_up() -> None:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (NONE_MORE, before[1]))
        if name == "sms-a":
            bench.sandbox.fault("sms-a", "slow", latency_ms=500)  # calls overlap and need more connections
        else:
            bench.restart_redis(0.1)

    def give_back() -> None:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    posted = bench.post(paid(210, on_unknown=policy), RATE, (0.5, use_up), (2.5, give_back))
    found = bench.judge(posted)
    assert found.verdict.accepted == 210
    assert policy == "hold" or found.states == {"settled": 210}
    assert found.kept(policy, IN_FLIGHT), found
    assert bench.deaths == 0, "it died of it"
    assert name != "intake" or any((p.accept_ms or 0) > 1000 for p in posted), "nobody was kept waiting"


@pytest.mark.long
@pytest.mark.parametrize(("name", "policy"), [("intake", "resend"), ("sms-a", "resend"), ("sms-a", "hold")])
def test_without_memory_it_refuses_or_ends_and_all_is_well(bench: Bench, name: str, policy: str) -> None:
    """Row 39 of docs/faults.md: for 2 s a process gets no more memory. It refuses requests, or it ends and is replaced.

    Nothing acknowledged is lost. A message that was in flight may be repeated under `resend`, or held under `hold`.
    """
    pid = bench.workers[name].pid
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    flooded: Counter[str] = Counter()

    def use_up() -> None:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
        resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), before[1]))
        if name == "intake":
            flooded.update(asyncio.run(flood(bench.api)))
        else:
            bench.sandbox.fault("sms-a", "slow", latency_ms=1500)  # calls pile up

    def give_back() -> None:
        with contextlib.suppress(ProcessLookupError):  # its successor has no limit
            resource.prlimit(pid, resource.RLIMIT_AS, before)
        bench.sandbox.fault("sms-a")

    posted = bench.post(paid(210, on_unknown=policy), RATE, (0.5, use_up), (2.5, give_back))
    posted += bench.post(paid(60, on_unknown=policy), RATE)
    found = bench.judge(posted)
    assert "MemoryError" in (bench.folder / f"{name}.log").read_text(), "it had enough"
    # If a web server has no memory left during a request, it answers 400. Nothing of the request is stored.
    assert set(flooded) <= {NO_ANSWER, MALFORMED}
    malformed = sum(post.status == 400 for post in posted)
    assert found.verdict.accepted == 270 - malformed
    assert (found.lost, found.contradictions) == ([], [])
    assert found.states["settled"] + found.states["held"] == 270 - malformed
    in_flight = CALLS_MAX if name == "sms-a" else 0
    assert found.verdict.repeats <= (in_flight if policy == "resend" else 0)
    assert found.states["held"] <= (in_flight if policy == "hold" else 0)
    assert bench.deaths <= 1, "its successor died too"


@pytest.mark.parametrize("how", ["no space", pytest.param("nobody reads", marks=pytest.mark.long)])
def test_logs_that_cannot_be_written_stop_nothing(make_bench: MakeBench, how: str) -> None:
    """Row 41 of docs/faults.md: no log line can be written, because the disk is full or nobody reads the pipe.

    Messages are still delivered, moved and refused.
    """
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
    dead = found.states["dead"]  # the second batch, and late messages of the first
    assert found.states == {"settled": 150 - dead, "dead": dead}
    assert 30 <= dead <= 40
    assert found.reasons == {"vonage_7": dead}
    assert bench.deaths == 1


async def flood(api: str) -> Counter[str]:
    """Send forty requests of a megabyte each at once. Return how many got each answer."""
    body, seen = b" " * 1_000_000 + b"{}", Counter[str]()

    async def one(session: aiohttp.ClientSession) -> None:
        headers = {"Content-Type": "application/json"}
        try:
            async with session.post(f"{api}/v1/triggers/batch", data=body, headers=headers) as answer:
                seen[f"{answer.status} {await answer.text()}"] += 1
        except (aiohttp.ClientError, asyncio.TimeoutError):
            seen[NO_ANSWER] += 1

    connector, patience = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=1.5)
    async with aiohttp.ClientSession(connector=connector, timeout=patience) as session:
        await asyncio.gather(*(one(session) for _ in range(40)))
    return seen
