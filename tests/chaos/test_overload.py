"""Row 37 of docs/faults.md: five times as many triggers as the store can accept come for ten seconds, or as long as an
option says.

`python -m pytest -m chaos tests/chaos/test_overload.py --overload-minutes 10 -rP` runs the ten minutes of that row and
prints the figures. Each client tries only once. With retries the client program itself would be overloaded after some
minutes.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cluster.rehearsal.load import Posted, percentile
from tests.chaos.bench.installation import Bench, Body, MakeBench, paid

pytestmark = pytest.mark.chaos

BRIEFLY_S = 10.0
TRIP_S, GROUP = 0.05, 2
CAPACITY_PER_S = GROUP / TRIP_S
RATE = 5 * CAPACITY_PER_S
DEADLINE_S, LATE_S = 0.3, 1.0
RSS_MIB_MORE, DESCRIPTORS_MAX = 32, 250
"""Intake may grow by two MiB a minute, mostly for the bounded cache of regions. Each waiting caller has a socket."""


@pytest.mark.long
def test_an_overload_is_refused_in_time_and_what_is_taken_arrives(
    make_bench: MakeBench, request: pytest.FixtureRequest
) -> None:
    """Clients post more triggers than the store can accept. As many as the store can accept get a 202 in time, and are
    delivered.

    All other triggers get a 503 with Retry-After. The memory and the open files of the processes do not grow.
    """
    seconds = 60 * (request.config.getoption("overload_minutes") or 0) or BRIEFLY_S
    bench = make_bench({"intake": {"group_commit_max": GROUP}, "limits": {"accept_deadline_s": DEADLINE_S}})
    way = bench.link()
    bench.start(links={"intake": way})
    way.delay_s = TRIP_S
    duration_s: dict[int, list[float]] = {202: [], 503: []}
    sizes: list[tuple[int, int]] = []
    waits: list[str | None] = []
    asked: list[Posted] = []

    def done(posted: Posted) -> None:
        duration_s.setdefault(posted.status, []).append(time.time() - posted.due_s)

    def look() -> None:
        sizes.append(size(bench))
        with ThreadPoolExecutor(10) as pool:  # the store can accept only a few of them
            asked.extend(pool.map(lambda sent: ask(bench, *sent, waits), paid(10)))

    looks = [(at_s, look) for at_s in range(2, int(seconds), 4)]
    posted = bench.post(many(int(RATE * seconds)), RATE, *looks, give_up_s=0.0, on_done=done)
    way.delay_s = 0.0
    after = bench.post(paid(60), 60.0)
    found = bench.judge([*posted, *asked, *after])

    figures = {
        status: [round(percentile(duration_s[status], share), 3) for share in (0.5, 0.99, 1)] for status in duration_s
    }
    print(f"{seconds:g} s: {Counter(p.status for p in posted)}, p50, p99, most: {figures} s; MiB, descriptors: {sizes}")
    assert set(duration_s) == {202, 503}
    assert len(duration_s[202]) >= CAPACITY_PER_S * seconds / 2, "an overload is to leave the store its capacity"
    assert max(duration_s[202] + duration_s[503]) <= DEADLINE_S + LATE_S
    assert set(waits) == {"1"}
    assert max(mib for mib, _ in sizes) <= sizes[0][0] + RSS_MIB_MORE
    assert max(descriptors for _, descriptors in sizes) <= DESCRIPTORS_MAX
    assert {p.first_status for p in after} == {202}
    assert found.states == {"settled": found.verdict.accepted}
    assert found.verdict.recovered <= found.verdict.accepted / 10, "told no, and stored"
    assert found.all_well(), found


def many(count: int) -> list[Body]:
    """Return `count` checkouts with one SMS each. `paid` makes them, in several calls if one call cannot make
    so many.
    """
    return [body for start in range(0, count, 50_000) for body in paid(min(50_000, count - start))]


def size(bench: Bench) -> tuple[int, int]:
    """Return the memory of intake in MiB, and its number of open descriptors."""
    process = Path(f"/proc/{bench.workers['intake'].pid}")
    pages = int((process / "statm").read_text().split()[1])
    return pages // 256, len(list((process / "fd").iterdir()))


def ask(bench: Bench, key: str, body: dict[str, Any], waits: list[str | None]) -> Posted:
    """Post one trigger as the load does. The `Retry-After` of a refusal is added to `waits`."""
    posted = Posted(key, time.time(), recipient=body["recipient"])
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    asked = urllib.request.Request(f"{bench.api}/v1/triggers", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(asked, timeout=3) as answer:
            posted.status, posted.accepted_s, posted.trigger_id = 202, time.time(), json.load(answer)["id"]
    except urllib.error.HTTPError as error:
        posted.status = error.code
        waits.append(error.headers["Retry-After"])
    return posted
