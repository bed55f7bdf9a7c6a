"""Row 20b of docs/faults.md: a vendor fails for one country and works for all others, with `breaker.per: country`.

Steady state: 60 triggers/s, an SMS each, 50 ms vendors. A little more than half of the messages go to Germany.
"""

from __future__ import annotations

from typing import Any

import pytest

from cluster.rehearsal.verdict import ORDER
from tests.chaos.bench.installation import VENDORS, Bench, Body, MakeBench, paid

pytestmark = pytest.mark.chaos

RATE = 60.0
COUNT = 720
BROKEN_S, DURING_S, MENDED_S = 1.0, 4.0, 6.0
BACK_S = 4.0
"""The most seconds until the vendor is used again: an open wait of up to two seconds, probes, and calls still open."""
PROBES_MAX = 4 * 5
"""The most probes in the five seconds of the fault: four times five, after waits of 0.5 s, then of 1 to 2 s."""


@pytest.mark.parametrize(("mode", "seen_s"), [("error", 0.0), pytest.param("hang", 1.0, marks=pytest.mark.long)])
def test_one_country_is_left_for_the_fallback_and_comes_back(make_bench: MakeBench, mode: str, seen_s: float) -> None:
    """Under load, `sms-a` begins to fail for German recipients. Within a second, German messages go to `sms-b`.
    Messages to other countries stay at `sms-a`.

    If `sms-a` hangs instead, this second begins when a call counts as slow. When `sms-a` works again, German messages
    return to it. Nothing is lost or repeated.
    """
    bench = make_bench()
    bench.settings["vendors"]["sms-a"]["breaker"]["per"] = "country"
    bench.start()
    during: list[dict[str, Any]] = []
    posted = bench.post(
        half_to_germany(COUNT),
        RATE,
        (BROKEN_S, lambda: bench.sandbox.fault("sms-a", mode, to="+49")),
        (DURING_S, lambda: during.extend(v for v in bench.vendors() if v["name"] == "sms-a")),
        (MENDED_S, lambda: bench.sandbox.fault("sms-a")),
    )
    found = bench.judge(posted)
    assert found.states == {"settled": COUNT}
    assert found.all_well(), found

    failed = [t for t, outcome in bench.sandbox.received("sms-a")["call_log"] if outcome != "accepted"]
    left_s = failed[0] + seen_s + 1.0
    assert len([t for t in failed if t > left_s]) <= PROBES_MAX
    due_s = {post.key: post.due_s for post in posted}
    german, others = by_country(bench)
    assert min(t for t, vendor, _ in german if vendor == "sms-b") <= left_s
    assert {vendor for _, vendor, _ in others} == {"sms-a"}, "it was to keep all other countries"
    mended_s = posted[0].due_s + MENDED_S
    cut_off = [(t - due_s[key], vendor) for t, vendor, key in german if left_s < due_s[key] < mended_s]
    assert len([vendor for late_s, vendor in cut_off if vendor == "sms-a" or late_s > 1.0]) <= PROBES_MAX
    assert {vendor for _, vendor, key in german if due_s[key] > mended_s + BACK_S} == {"sms-a"}, "it was to come back"

    (vendor,) = during
    (breaker,) = vendor["breaker"]
    assert (vendor["state"], breaker["state"], set(breaker["cut_off"])) == ("closed", "closed", {"DE"})
    changes = bench.logs()
    assert "breaker_changed" not in changes, "the vendor's own breaker was to stay closed"
    assert '"country": "DE", "state": "open"' in changes


def half_to_germany(count: int) -> list[Body]:
    """Return `count` checkouts with one SMS each, of which every second one goes to Germany.

    Of the others, `paid` itself sends one in eight to Germany.
    """
    bodies = paid(count)
    for _, body in bodies[::2]:
        body["recipient"]["phone"] = "+4915112345678"
    return bodies


def by_country(bench: Bench) -> tuple[list[tuple[float, str, str]], list[tuple[float, str, str]]]:
    """Return two lists of deliveries: those to Germany, and those to all other countries.

    Each delivery is (epoch seconds, vendor, key).
    """
    german: list[tuple[float, str, str]] = []
    others: list[tuple[float, str, str]] = []
    for vendor in VENDORS:
        for delivery in bench.sandbox.received(vendor)["received"]:
            order = ORDER.search(delivery["text"])
            assert order is not None, delivery
            place = german if delivery["to"].startswith("+49") else others
            place.append((delivery["t"], vendor, order.group(1)))
    return german, others
