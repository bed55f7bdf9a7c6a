"""Checks breakers by country: a failing country is cut off alone, and never opens the vendor's breaker."""

from __future__ import annotations

import random

import pytest

from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import SECOND_NS, BreakerConfig, BreakerState
from dispatcher.core.breaker.per_country import KEYS_MAX
from dispatcher.core.breaker.values import BreakerResult, Permit
from tests.unit.core.breaker.country_calls import CONFIG, FAIL, MS, OK, Calls, let_pass


def test_one_bad_country_is_cut_off_alone() -> None:
    """After ten failures in a row one country is refused.

    The vendor's breaker stays closed, and the other countries are called as before.
    """
    calls = Calls()
    for _ in range(20):
        calls.call("DE", OK)
    let_through = sum(calls.call("FR", FAIL) for _ in range(40) if calls.call("DE", OK))
    assert let_through == CONFIG.consecutive_failures
    assert calls.parent.state is BreakerState.CLOSED
    assert calls.cut_off() == {"FR": "open"}
    assert (calls.keys.cut_off_for_ns("FR", calls.now_ns) or 0) > 0
    assert calls.keys.cut_off_for_ns("DE", calls.now_ns) is None


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("failing", [0.6, 0.9, 1.0])
def test_a_single_bad_country_never_opens_the_vendor(share: float, failing: float) -> None:
    """A failing country never opens the vendor's breaker while another country works, whatever its share of the
    traffic is.
    """
    chance = random.Random(7)
    calls = Calls()
    calls.call("DE", OK)
    for _ in range(2000):
        if chance.random() < share:
            calls.call("FR", FAIL if chance.random() < failing else OK)
        else:
            calls.call("DE", OK)
        assert calls.parent.state is BreakerState.CLOSED


def test_a_vendor_that_fails_everywhere_opens_as_without_keys() -> None:
    """Failures of a vendor come from several countries, or from its only country. The vendor's breaker opens after as
    many calls as without breakers by country.
    """
    bare = Breaker(CONFIG, SECOND_NS)
    n = 0
    while bare.state is BreakerState.CLOSED:
        permit = bare.acquire(SECOND_NS)
        assert isinstance(permit, Permit)
        bare.record(permit, FAIL, 10 * MS, SECOND_NS)
        n += 1
    for countries in (("DE",), ("DE", "FR"), ("DE", "FR", "IT", "ES", "PT")):
        calls = Calls()
        for key in countries:
            calls.call(key, OK)
        calls.wait(1.0)
        assert calls.until_open(lambda i, among=countries: among[i % len(among)], lambda key: FAIL) == n, countries  # type: ignore[misc]
        assert calls.keys.known == 0
        assert calls.cut_off() == {}


def cut_off_and_waited() -> Calls:
    """Return `Calls` in which France is cut off and its wait is over, so that its next call is a probe. Germany
    works.
    """
    calls = Calls()
    calls.call("DE", OK)
    while calls.call("FR", FAIL):
        calls.call("DE", OK)
    calls.wait(CONFIG.open_wait_ms / 1000)
    calls.call("DE", OK)
    return calls


def test_a_cut_off_country_comes_back_by_its_own_probes() -> None:
    """After its wait a cut-off country gets as many calls as there are probes.

    When these calls succeed, the country is called as before.
    """
    calls = cut_off_and_waited()
    assert [calls.call("FR", OK) for _ in range(CONFIG.half_open_calls)] == [True] * CONFIG.half_open_calls
    assert calls.cut_off() == {}
    assert calls.call("FR", OK)
    changes = [(change.key, change.to.value) for change in calls.keys.drain_changes()]
    assert changes == [("FR", "open"), ("FR", "half_open"), ("FR", "closed")]


def test_failed_probes_cut_it_off_again_and_the_vendor_hears_nothing_of_them() -> None:
    calls = Calls()
    calls.call("DE", OK)
    while calls.call("FR", FAIL):
        calls.call("DE", OK)
    failed = calls.parent.metrics(calls.now_ns).failed
    for _ in range(3):
        calls.wait(CONFIG.open_wait_ms_max / 1000)
        calls.call("DE", OK)
        for _ in range(CONFIG.half_open_calls):
            calls.call("FR", FAIL)
        assert calls.cut_off() == {"FR": "open"}
        assert calls.parent.metrics(calls.now_ns).failed <= failed
    assert calls.parent.state is BreakerState.CLOSED


@pytest.mark.parametrize("ticked", [True, False])
def test_a_country_that_hangs_is_cut_off_before_its_calls_end(ticked: bool) -> None:
    """All calls for one country hang. The country is cut off before these calls end, and they do not count against the
    vendor.

    This holds even if the breakers are not told the time between the calls.
    """
    calls = Calls()
    calls.call("DE", OK)
    hanging = [calls.keys.acquire("FR", calls.now_ns) for _ in range(30)]
    assert all(isinstance(permit, Permit) for permit in hanging)
    for _ in range(7):
        calls.wait(1.0) if ticked else let_pass(calls, 1.0)
        calls.call("DE", OK)
    assert calls.cut_off() == {"FR": "open"}
    assert calls.parent.state is BreakerState.CLOSED
    for permit in hanging:
        assert isinstance(permit, Permit)
        calls.keys.record(permit, FAIL, 10 * SECOND_NS, calls.now_ns)
    assert calls.parent.state is BreakerState.CLOSED


def test_without_a_country_that_works_its_word_does_not_count() -> None:
    """FR is cut off. Then no call to another country succeeds for a while, so FR is no longer cut off.

    The vendor's breaker now decides by the results of all countries, because the vendor itself may be at fault.
    """
    calls = Calls()
    calls.call("DE", OK)
    while calls.call("FR", FAIL):
        calls.call("DE", OK)
    calls.wait(11.0)
    assert calls.cut_off() == {}
    assert calls.until_open(lambda _: "FR", lambda _: FAIL) > 0


def test_an_operator_s_close_silences_the_countries_too() -> None:
    calls = Calls()
    calls.call("DE", OK)
    while calls.call("FR", FAIL):
        calls.call("DE", OK)
    calls.parent.force(BreakerState.METRICS_ONLY, calls.now_ns)
    assert all(calls.call("FR", FAIL) for _ in range(30))
    calls.parent.force(BreakerState.CLOSED, calls.now_ns)
    assert calls.call("FR", OK)


def test_a_vendor_opened_from_outside_has_no_countries() -> None:
    """France is cut off. Then an operator or the plan opens the vendor's own breaker.

    From that moment on, even before the next call, no country counts as cut off.
    """
    calls = Calls()
    calls.call("DE", OK)
    while calls.call("FR", FAIL):
        calls.call("DE", OK)
    calls.parent.force_open_for(SECOND_NS, calls.now_ns)
    assert calls.cut_off() == {}
    assert calls.keys.cut_off_for_ns("FR", calls.now_ns) is None


def test_keys_are_bounded_and_only_idle_closed_ones_make_room() -> None:
    """At most KEYS_MAX countries have a breaker of their own.

    A country keeps its breaker while it is cut off or has a call in flight. If all KEYS_MAX countries do, a further
    country has no breaker of its own, and its calls count in the vendor's breaker only.
    """
    calls = Calls()
    calls.call("DE", OK)
    while calls.call("FR", FAIL):
        calls.call("DE", OK)
    for n in range(3 * KEYS_MAX):
        calls.call("DE", OK)
        calls.call(f"X{n}", OK)
        assert calls.keys.known <= KEYS_MAX
    assert calls.cut_off() == {"FR": "open"}
    for n in range(KEYS_MAX):
        calls.keys.acquire(f"Y{n}", calls.now_ns)
    known = set(calls.keys._children)
    assert calls.call("ZZ", FAIL)
    assert set(calls.keys._children) == known == {"FR", *(f"Y{n}" for n in range(KEYS_MAX - 1))}


def test_a_bad_country_among_very_many_is_found() -> None:
    """A failing country is cut off even if more than KEYS_MAX other countries are called between its failures."""
    calls = Calls()
    n = 0
    for _ in range(CONFIG.consecutive_failures):
        for _ in range(2 * KEYS_MAX):
            n += 1
            calls.now_ns -= 9 * MS  # a thousand calls a second
            calls.call(f"X{n}", OK)
        assert calls.call("FR", FAIL)
    assert calls.cut_off() == {"FR": "open"}
    assert calls.parent.state is BreakerState.CLOSED


def test_a_country_with_little_traffic_is_judged_by_failures_in_a_row() -> None:
    """A country with one call a minute is cut off by its tenth failure in a row, although it has too few calls for
    a failure rate.
    """
    calls = Calls()
    for n in range(CONFIG.consecutive_failures):
        assert calls.cut_off() == {}, n
        calls.wait(60.0)
        calls.call("DE", OK)
        assert calls.call("FR", FAIL)
    assert calls.cut_off() == {"FR": "open"}


def full_of(calls: Calls, result: BreakerResult, duration_ms: int = 10) -> set[str]:
    """Make one call for each of `KEYS_MAX` countries, with this result and duration. No further country gets a breaker
    then.

    Return the countries that have a breaker.
    """
    for n in range(KEYS_MAX):
        permit = calls.keys.acquire(f"X{n}", calls.now_ns)
        assert isinstance(permit, Permit)
        calls.keys.record(permit, result, duration_ms * MS, calls.now_ns)
    return set(calls.keys._children)


@pytest.mark.parametrize(("result", "duration_ms"), [(FAIL, 10), (OK, 6_000)], ids=["failed", "slow"])
def test_where_nobody_is_as_new_a_further_country_shares_the_vendors(result: BreakerResult, duration_ms: int) -> None:
    """KEYS_MAX countries have a breaker, and each has a failed or slow call in its window. A further country gets no
    breaker of its own and uses the vendor's breaker. When the windows are over, the further country gets its own
    breaker.
    """
    calls = Calls(BreakerConfig(min_calls=1000, consecutive_failures=0))
    known = full_of(calls, result, duration_ms)
    assert calls.call("DE", OK)
    assert set(calls.keys._children) == known
    calls.wait(float(CONFIG.window_size + 1))
    assert calls.call("DE", OK)
    assert set(calls.keys._children) == (known | {"DE"}) - {"X0"}


def test_one_that_was_cut_off_keeps_its_place_until_its_opening_is_forgotten() -> None:
    """A country was cut off and has recovered. Its breaker is not replaced by another country's until the opening is
    forgotten.

    So the country waits longer if it soon fails again.
    """
    calls = cut_off_and_waited()
    while calls.cut_off():
        assert calls.call("FR", OK)
    for seconds, kept in ((CONFIG.attempts_decay_ms / 1000 - 1.0, True), (3.0, False)):
        calls.wait(seconds)
        full_of(calls, OK)
        assert ("FR" in calls.keys._children) is kept


def test_a_vendor_s_breaker_begun_anew_has_no_countries_of_before() -> None:
    """FR is cut off. Then the vendor's breaker is reset, or an operator sets the override `close` and removes it again.
    No country is cut off any more.
    """
    for begin in (
        lambda calls: calls.parent.reset(calls.now_ns),
        lambda calls: [calls.parent.force(to, calls.now_ns) for to in (BreakerState.METRICS_ONLY, BreakerState.CLOSED)],
    ):
        calls = Calls()
        calls.call("DE", OK)
        while calls.call("FR", FAIL):
            calls.call("DE", OK)
        begin(calls)
        assert calls.cut_off() == {}
        assert calls.call("FR", OK)


def test_what_the_parent_was_not_told_is_not_left_out_of_its_evidence() -> None:
    """Calls to a country hang, so the country is cut off, and the vendor's breaker does not count these calls.

    The calls fail at last, after a time without an answer for any other country. The evidence against the vendor is
    what its breaker has counted. Nothing is subtracted for calls that the breaker never counted.
    """
    calls = Calls()
    calls.call("DE", OK)
    hanging = [calls.keys.acquire("FR", calls.now_ns) for _ in range(30)]
    for _ in range(7):
        calls.wait(1.0)
        calls.call("DE", OK)
    assert calls.cut_off() == {"FR": "open"}
    calls.wait(11.0)
    for permit in hanging:
        assert isinstance(permit, Permit)
        calls.keys.record(permit, FAIL, 10 * SECOND_NS, calls.now_ns)
    calls.call("DE", OK)
    evidence = calls.keys.evidence(calls.now_ns)
    assert (evidence.n, evidence.failed) == (1, 0)


def test_how_long_a_country_is_cut_off_counts_from_its_last_closed_moment() -> None:
    """`for_s` of a cut-off country counts from when its breaker was last closed.

    Failed probes do not restart the count, but a recovery does.
    """
    calls = Calls()
    calls.call("DE", OK)
    while calls.call("FR", FAIL):
        calls.call("DE", OK)
    began_ns = calls.now_ns
    for _ in range(3):
        calls.wait(CONFIG.open_wait_ms_max / 1000)
        calls.call("DE", OK)
        while calls.call("FR", FAIL):
            pass
    since_s = (calls.now_ns - began_ns) / SECOND_NS
    assert calls.keys.cut_off(calls.now_ns)["FR"].for_s == pytest.approx(since_s, abs=0.1)
    calls.wait(CONFIG.open_wait_ms_max / 1000)
    calls.call("DE", OK)
    while calls.cut_off():
        assert calls.call("FR", OK)
    while calls.call("FR", FAIL):
        calls.call("DE", OK)
    assert calls.keys.cut_off(calls.now_ns)["FR"].for_s < 1.0


def test_a_country_that_receipts_refuse_is_cut_off_though_its_calls_succeed() -> None:
    """`refuse` cuts off a country whose calls all succeed.

    If no other country works, it returns False and changes nothing.
    """
    calls = Calls()
    for _ in range(3):
        calls.call("US", OK)
    assert not calls.keys.refuse("US", calls.now_ns)
    assert calls.cut_off() == {}
    calls.call("DE", OK)
    assert calls.keys.refuse("US", calls.now_ns)
    assert calls.cut_off() == {"US": "open"}
    assert calls.parent.state is BreakerState.CLOSED
    assert not calls.call("US", OK) and calls.call("DE", OK)
