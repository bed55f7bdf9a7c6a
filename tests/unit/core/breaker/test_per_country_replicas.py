"""Checks breakers by country over all replicas of a vendor, and under any history of calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.breaker.config import SECOND_NS, BreakerState
from dispatcher.core.breaker.values import BreakerResult, Permit
from dispatcher.core.plan.decide import Survey, decide
from dispatcher.core.plan.values import Plan, PlanConfig, Report, VendorConfig
from tests.unit.core.breaker.country_calls import CONFIG, FAIL, LOCAL, MS, OK, Calls


def replicas(count: int, evidence: bool = True) -> tuple[list[Calls], Callable[[], str]]:
    """Return `count` replicas of a vendor, and a function. The function decides a plan from the replicas' reports, and
    returns the vendor's state in this plan.

    With `evidence`, a report leaves out the failures of a single country while other countries work.
    """
    pool = [Calls() for _ in range(count)]
    config = PlanConfig({"a": VendorConfig("a", "sms")}, (("a",),))

    def state() -> str:
        reports = []
        for n, calls in enumerate(pool):
            read, counts = calls.parent.metrics(calls.now_ns), calls.keys.evidence(calls.now_ns)
            window = {"n": read.buffered, "failed": read.failed}
            told = {"n": counts.n, "failed": counts.failed} if evidence else None
            reports.append(Report(f"a/{n}", "a", calls.parent.state.value, window=window, evidence=told))
        return decide(Survey(reports), config, Plan(), 1000).vendors["a"].state

    return pool, state


@pytest.mark.parametrize("evidence", [True, False])
def test_a_single_bad_country_does_not_open_the_vendor_by_all_replicas_together(evidence: bool) -> None:
    """Two replicas of one vendor fail for a single country. If their reports leave this country out, the plan keeps the
    vendor closed.

    With reports that do not leave it out, the plan opens the vendor. This case shows that the test can fail.
    """
    pool, state = replicas(2, evidence)
    for calls in pool:
        calls.call("DE", OK)
    for _ in range(9):
        for calls in pool:
            calls.call("FR", FAIL)
        if evidence:
            assert state() == "closed"
    assert state() == ("closed" if evidence else "open")
    for _ in range(20):
        for calls in pool:
            calls.call("DE", OK)
            calls.call("FR", FAIL)
            calls.wait(0.7)
        if evidence:
            assert state() == "closed"


@pytest.mark.parametrize("countries", [("DE",), ("DE", "FR"), ("DE", "FR", "IT", "ES", "PT")])
def test_replicas_that_fail_everywhere_open_the_vendor_together_as_without_keys(countries: tuple[str, ...]) -> None:
    """Four replicas of a vendor fail in every country. The plan opens the vendor's breaker at the same call in two
    cases.

    In one case the replicas may leave the results of a country out of their reports, in the other case they may not.
    """
    opened = []
    for evidence in (True, False):
        pool, state = replicas(4, evidence)
        n = 0
        while state() == "closed":
            pool[n % 4].call(countries[n // 4 % len(countries)], FAIL)
            n += 1
        opened.append(n)
    assert opened[0] == opened[1] == CONFIG.min_calls


EVENT = st.tuples(
    st.sampled_from(["DE", "FR", "IT", "ES"]),
    st.sampled_from([OK, OK, FAIL, FAIL, LOCAL, BreakerResult.IGNORED, BreakerResult.THROTTLED]),
    st.sampled_from([0, 1, 20, 300, 6_000]),  # ms the call takes
    st.sampled_from([0, 0, 1, 50, 2_000]),  # ms until the next begins
)


@settings(max_examples=150)
@given(st.lists(EVENT, max_size=150))
def test_whatever_comes_no_permit_is_lost_and_good_countries_make_no_trouble(
    events: list[tuple[str, BreakerResult, int, int]],
) -> None:
    """For any sequence of calls in which only FR fails, no call to another country is refused, and no permit stays in
    flight.

    The vendor's breaker does not open while a call to another country has succeeded lately.
    """
    calls = Calls()
    flying: list[tuple[int, int, Permit, BreakerResult, int, str]] = []
    for n, (key, result, takes_ms, pause_ms) in enumerate(events):
        if key != "FR" and result is FAIL:
            result = OK
        takes_ms = takes_ms if key == "FR" else min(takes_ms, 300)
        permit = calls.keys.acquire(key, calls.now_ns)
        if isinstance(permit, Permit):
            flying.append((calls.now_ns + takes_ms * MS, n, permit, result, takes_ms, key))
        else:
            assert key == "FR"
        calls.now_ns += pause_ms * MS
        _end_due(calls, flying, calls.now_ns)
        calls.keys.tick(calls.now_ns)
        if calls.parent.state is not BreakerState.CLOSED:
            assert not _heard_lately(events[: n + 1], calls)
            return
    _end_due(calls, flying, calls.now_ns + 10 * SECOND_NS)
    assert not any(child.flying for child in calls.keys._children.values())
    assert calls.keys._key_of == {}


def _end_due(calls: Calls, flying: list[tuple[int, int, Permit, BreakerResult, int, str]], until_ns: int) -> None:
    for call in sorted(c for c in flying if c[0] <= until_ns):
        flying.remove(call)
        at_ns, _, permit, result, takes_ms, _ = call
        calls.keys.record(permit, result, takes_ms * MS, max(at_ns, calls.now_ns - 2 * SECOND_NS))


def _heard_lately(events: list[tuple[str, BreakerResult, int, int]], calls: Calls) -> bool:
    """Return True if another country than FR answered within the last second."""
    at_ms = 0
    for key, result, takes_ms, pause_ms in reversed(events):
        at_ms += pause_ms
        if at_ms > 1_000:
            return False
        if key != "FR" and result in (OK, FAIL) and min(takes_ms, 300) <= at_ms:
            return True
    return False
