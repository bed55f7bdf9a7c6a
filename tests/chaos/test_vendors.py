"""Rows 19 to 21, 27 to 29, 34, 35, 37 and 40 of docs/faults.md: vendors fail in every way, and clients post too
much.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest

from cluster.rehearsal.load import Posted
from dispatcher.config.settings import RedriveSettings
from tests.chaos.bench.installation import VENDORS, Bench, MakeBench, paid

pytestmark = pytest.mark.chaos

RATE = 60.0
PROBES = 5
DEAD_LETTERS = 10_000
SLOWLY_S = 6.0


@pytest.mark.long
@pytest.mark.parametrize("mode", ["hang", "error", "reset", "garbage", "drip", "throttle"])
def test_a_broken_vendor_is_left_for_its_fallback(bench: Bench, mode: str) -> None:
    """Fault rows 19 to 24 (docs/faults.md): a vendor fails in one of several ways.

    The other vendor of the chain sends the failing vendor's mailbox and all new work. The failing vendor gets only
    probes.
    """

    def breaks() -> None:
        bench.sandbox.fault("sms-a", mode, retry_after_s=4)

    posted = bench.post(paid(300), RATE, (1.0, breaks))
    found = bench.judge(posted)
    assert found.verdict.accepted == 300
    assert found.states == {"settled": 300}
    assert found.all_well(), found
    first_s, calls = _faulty_calls(bench, "sms-a")
    # A hang shows after the slow threshold of 1 s, and fills the 64 permits at most.
    assert len(calls) <= (64 if mode in ("hang", "drip") else RATE) + 3 * PROBES
    assert len([t for t in calls if t > first_s + 3.0]) <= 3 * PROBES


@pytest.mark.long
def test_all_vendors_down_waits_and_expires_without_a_hot_loop(make_bench: MakeBench) -> None:
    """Row 27 of docs/faults.md: both vendors fail, and later both work again.

    Nothing is lost. Messages past their deadline become dead letters with the reason `expired`, the others are
    delivered, and CPU use stays low during the failure.
    """
    bench = make_bench().start()
    for vendor in VENDORS:
        bench.sandbox.fault(vendor, "error")
    short = bench.post(paid(60, expires_in_s=4), RATE)
    kept = bench.post(paid(60), RATE)
    busy = {name: worker.cpu_s() for name, worker in bench.workers.items()}
    began = time.monotonic()
    bench.until(lambda: bench.judge(short, settled=False).states == {"dead": 60}, 20)
    share = {name: (worker.cpu_s() - busy[name]) / (time.monotonic() - began) for name, worker in bench.workers.items()}
    assert bench.judge(short, settled=False).reasons == {"expired": 60}
    assert max(share.values()) < 0.2, share
    for vendor in VENDORS:
        bench.sandbox.fault(vendor)
    found = bench.judge(kept, drain_s=60)
    assert found.states == {"settled": 60}
    assert found.all_well(), found


@pytest.mark.long
def test_a_flapping_vendor_is_not_stampeded(bench: Bench) -> None:
    """Row 28 of docs/faults.md: a vendor fails and works in turns of 0.7 s.

    Everything is delivered once, and the vendor gets few calls in the times in which it fails.
    """
    flips = [(0.7 * n, lambda n=n: bench.sandbox.fault("sms-a", "error" if n % 2 else "none")) for n in range(1, 12)]
    posted = bench.post(paid(540), RATE, *flips)
    bench.sandbox.fault("sms-a")
    found = bench.judge(posted)
    assert found.all_well(), found
    _, calls = _faulty_calls(bench, "sms-a")
    assert len(calls) <= 6 * (10 + PROBES), "ten failures in a row open it; then probes"


@pytest.mark.long
@pytest.mark.parametrize(("policy", "repeats"), [("resend", 1), ("hold", 0)])
def test_a_late_yes_repeats_only_what_may_be_repeated(bench: Bench, policy: str, repeats: int) -> None:
    """Row 29 of docs/faults.md: a vendor accepts a message, but answers after our time-out.

    Under `resend` it is sent again, under `hold` a look-up finds it.
    """
    bench.sandbox.fault("sms-a", "slow", latency_ms=3500)
    posted = bench.post(paid(1, on_unknown=policy), 1.0)
    bench.until(lambda: len(bench.sandbox.received("sms-a")["received"]) == 1, 10)
    bench.until(lambda: bench.judge(posted, settled=False).states == {"settled": 1}, 15)
    found = bench.judge(posted)
    assert found.verdict.repeats == repeats
    assert (found.lost, found.contradictions) == ([], [])


@pytest.mark.parametrize("mode", ["hang", pytest.param("reset", marks=pytest.mark.long)])
def test_what_a_broken_vendor_has_is_found_by_look_up(bench: Bench, mode: str) -> None:
    """Fault row 29 (docs/faults.md) under `hold`: a vendor receives messages and never answers, so they are held.

    Look-ups settle the held notifications long before their deadline, and no message is repeated.
    """
    bench.sandbox.fault("sms-a", mode, received=True)
    posted = bench.post(paid(30, on_unknown="hold"), 30.0)
    bench.until(lambda: bench.judge(posted, settled=False).states == {"settled": 30}, 30)
    found = bench.judge(posted)
    assert found.all_well(), found
    there = len(bench.sandbox.received("sms-a")["received"])
    assert there >= 10, "it was to take some before it was cut off"
    bench.until(lambda: bench.metric("dispatcher_look_ups_total") >= there, 5)
    assert _reasons(bench, posted)["look_up"] == there


@pytest.mark.long
def test_what_a_broken_vendor_has_not_is_not_sent_again(bench: Bench) -> None:
    """Row 29 of docs/faults.md under `hold`: a vendor hangs during a call, so the outcome is unknown. The vendor's list
    does not have the message, so the look-ups do not find it.

    The message stays held and is not sent again, because the vendor may still add it to its list.
    """
    bench.sandbox.fault("sms-a", "hang")
    posted = bench.post(paid(1, on_unknown="hold"), 1.0)
    bench.until(lambda: bench.judge(posted, settled=False).states == {"held": 1}, 10)
    bench.until(lambda: bench.metric("dispatcher_look_ups_total") >= 2, 15)
    bench.sandbox.fault("sms-a")
    time.sleep(3.0)
    found = bench.judge(posted)
    assert found.states == {"held": 1}
    assert (found.verdict.repeats, found.lost, found.contradictions) == (0, [], [])
    assert all(len(bench.sandbox.received(vendor)["received"]) == 0 for vendor in VENDORS)


def test_one_key_posted_a_hundred_times_at_once_is_one_trigger(bench: Bench) -> None:
    """Rows 34 and 35 of docs/faults.md: the same trigger is posted a hundred times at once with one idempotency key.

    All posts get the same id, and one message is sent. A post of another body with this key gets a 409.
    """
    ((key, body),) = paid(1)

    async def storm() -> list[tuple[int, str | None]]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def one(sent: dict[str, object]) -> tuple[int, str | None]:
                headers = {"Idempotency-Key": key}
                async with session.post(f"{bench.api}/v1/triggers", json=sent, headers=headers) as answer:
                    return answer.status, (await answer.json(content_type=None)).get("id")

            answers = await asyncio.gather(*(one(body) for _ in range(100)))
            return [*answers, await one({**body, "priority": "high"})]

    *same, other = asyncio.run(storm())
    assert {status for status, _ in same} == {202}
    assert len({found for _, found in same}) == 1
    assert other[0] == 409
    bench.until(lambda: len(bench.sandbox.received("sms-a")["received"]) == 1, 5)
    time.sleep(0.5)
    assert sum(len(bench.sandbox.received(vendor)["received"]) for vendor in VENDORS) == 1


@pytest.mark.long
def test_more_than_it_can_take_is_refused_and_what_is_taken_arrives(make_bench: MakeBench) -> None:
    """Row 37 of docs/faults.md: for five seconds clients post five times what a slow store can accept, and repeat
    refused posts.

    In the end all are accepted and delivered.
    """
    bench = make_bench({"intake": {"group_commit_max": 2}, "limits": {"accept_deadline_s": 0.3}})
    way = bench.link()
    bench.start(links={"intake": way})
    way.delay_s = 0.05  # a round trip of two triggers: some 40/s
    posted = bench.post(paid(600), 200.0, (5.0, lambda: setattr(way, "delay_s", 0.0)))
    statuses = Counter(p.first_status for p in posted)
    assert set(statuses) == {202, 503}
    assert statuses[503] > 200
    found = bench.judge(posted)
    assert found.verdict.accepted == 600
    assert found.all_well(), found


@pytest.mark.long
def test_dead_letters_redriven_twice_are_sent_once(bench: Bench) -> None:
    """Fault row 40 (docs/faults.md): all dead letters are redriven twice while the first vendor fails.

    Each letter is sent once, and the failing vendor gets only probes.
    """
    for vendor in VENDORS:
        bench.sandbox.fault(vendor, "reject")
    posted = bench.post(paid(300), 100.0)
    bench.until(lambda: bench.judge(posted, settled=False).states == {"dead": 300}, 15)
    bench.sandbox.fault("sms-b")
    bench.sandbox.fault("sms-a", "error")
    first = bench.tell("/v1/dead-letters/redrive", {"limit": 1000})
    second = bench.tell("/v1/dead-letters/redrive", {"limit": 1000})
    found = bench.judge(posted)
    assert first["count"] == 300
    assert second["count"] == 0
    assert found.states == {"settled": 300}
    assert found.all_well(), found
    _, calls = _faulty_calls(bench, "sms-a")
    assert len(calls) <= 64 + 3 * PROBES, "what is in flight when it opens, and probes"


@pytest.mark.long
def test_two_sweeps_over_ten_thousand_dead_letters_redrive_each_once(bench: Bench) -> None:
    """Row 40 of docs/faults.md: two operators redrive the same ten thousand dead letters at the same time. Each letter
    is sent once.

    While one vendor of the chain is down, the two redrives together are no faster than `slow_per_s`.
    """
    for vendor in VENDORS:
        bench.sandbox.fault(vendor, "reject")
    posted = bench.post(paid(DEAD_LETTERS), 400.0)
    bench.until(lambda: bench.store().zcard("{nd:0}:dead") == DEAD_LETTERS, 60)
    bench.sandbox.fault("sms-b")
    bench.sandbox.fault("sms-a", "error")
    seed = bench.post(paid(60), RATE)
    bench.until(lambda: bench.plan()["sms-a"]["state"] != "closed", 10)
    with ThreadPoolExecutor(2) as pool:
        sweeps = [pool.submit(_sweep, bench) for _ in range(2)]
        time.sleep(SLOWLY_S)
        slowly = DEAD_LETTERS - bench.store().zcard("{nd:0}:dead")
        bench.sandbox.fault("sms-a")
        counts = [sweep.result(120) for sweep in sweeps]
    found = bench.judge([*posted, *seed], drain_s=60)
    assert 0 < slowly <= (SLOWLY_S + 1) * RedriveSettings().slow_per_s
    assert sum(counts) == DEAD_LETTERS
    assert bench.tell("/v1/dead-letters/redrive", {"limit": 1000})["count"] == 0
    assert found.states == {"settled": DEAD_LETTERS + 60}
    assert found.all_well(), found


def _sweep(bench: Bench) -> int:
    """Redrive all dead letters as `dispatcher dead redrive` does. Return how many were redriven.

    Each further call begins at the cursor of the previous answer, after the wait that the answer names.
    """
    count, cursor = 0, None
    while True:
        answer = bench.tell("/v1/dead-letters/redrive", {"limit": 1000, "cursor": cursor})
        count, cursor = count + answer["count"], answer["cursor"]
        if cursor is None:
            return count
        time.sleep(answer["wait_s"])


def _reasons(bench: Bench, posted: list[Posted]) -> Counter[str]:
    """Return how many of the posted notifications ended with each reason. Only the part before a colon counts."""
    ends = [bench.ask(f"/v1/triggers/{post.trigger_id}")[1]["notifications"][0] for post in posted]
    return Counter((end["reason"] or "sent").split(":")[0] for end in ends)


def _faulty_calls(bench: Bench, vendor: str) -> tuple[float, list[float]]:
    """Return the time of the vendor's first failed call, and the times of all its failed calls."""
    log = bench.sandbox.received(vendor)["call_log"]
    times = [t for t, outcome in log if outcome not in ("accepted", "reject")]
    return (times[0] if times else 0.0), times
