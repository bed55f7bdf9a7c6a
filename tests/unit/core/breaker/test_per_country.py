"""Breakers by country: one bad route is cut off alone, and never opens the vendor."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.breaker.breaker import Breaker, BreakerConfig, BreakerResult, BreakerState, Permit
from dispatcher.core.breaker.config import SECOND_NS
from dispatcher.core.breaker.per_country import KEYS_MAX, KeyedBreakers
from dispatcher.core.plan.decide import Survey, decide
from dispatcher.core.plan.values import Plan, PlanConfig, Report, VendorConfig

MS = 1_000_000
CONFIG = BreakerConfig()
OK, FAIL, LOCAL = BreakerResult.SUCCESS, BreakerResult.FAILURE, BreakerResult.LOCAL


class Calls:
    """Makes calls on a clock of its own, 10 ms each, and counts those that were let through."""

    def __init__(self, config: BreakerConfig = CONFIG) -> None:
        self.now_ns = SECOND_NS
        self.parent = Breaker(config, self.now_ns)
        self.keys = KeyedBreakers(self.parent)

    def call(self, key: str, result: BreakerResult) -> bool:
        permit = self.keys.acquire(key, self.now_ns)
        self.now_ns += 10 * MS
        if not isinstance(permit, Permit):
            return False
        self.keys.record(permit, result, 10 * MS, self.now_ns)
        self.keys.tick(self.now_ns)
        return True

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND_NS)
        self.keys.tick(self.now_ns)

    def cut_off(self) -> dict[str, str]:
        """Which keys, in which state."""
        return {key: found.state.value for key, found in self.keys.cut_off(self.now_ns).items()}

    def until_open(
        self, key_of: Callable[[int], str], result_of: Callable[[str], BreakerResult], most: int = 500
    ) -> int:
        """Calls until the vendor's own breaker opens."""
        for n in range(most):
            if self.parent.state is not BreakerState.CLOSED:
                return n
            self.call(key_of(n), result_of(key_of(n)))
        raise AssertionError("it never opened")


def test_one_bad_country_is_cut_off_alone() -> None:
    """It is refused from its tenth failure on; the vendor stays closed and the other countries go on."""
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
    """However much of the traffic it is, as long as another works."""
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
    """Failures spread over countries count together; so do those of a vendor that has but one country."""
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
    """France was cut off, Germany was not, and the wait is over."""
    calls = Calls()
    calls.call("DE", OK)
    while calls.call("FR", FAIL):
        calls.call("DE", OK)
    calls.wait(CONFIG.open_wait_ms / 1000)
    calls.call("DE", OK)
    return calls


def test_a_cut_off_country_comes_back_by_its_own_probes() -> None:
    """After its wait as many calls as probes are let through; when they succeed it is as before."""
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
    """Its calls in flight, most of all, are taken from the vendor's evidence; also when nobody looked before."""
    calls = Calls()
    calls.call("DE", OK)
    hanging = [calls.keys.acquire("FR", calls.now_ns) for _ in range(30)]
    assert all(isinstance(permit, Permit) for permit in hanging)
    for _ in range(7):
        calls.wait(1.0) if ticked else _let_pass(calls, 1.0)
        calls.call("DE", OK)
    assert calls.cut_off() == {"FR": "open"}
    assert calls.parent.state is BreakerState.CLOSED
    for permit in hanging:
        assert isinstance(permit, Permit)
        calls.keys.record(permit, FAIL, 10 * SECOND_NS, calls.now_ns)
    assert calls.parent.state is BreakerState.CLOSED


def test_without_a_country_that_works_its_word_does_not_count() -> None:
    """The others were not heard for a while: it may be the vendor, so the vendor's breaker decides, on all results."""
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
    """By the evidence of all replicas, or an operator: asked before any call is, as a report does."""
    calls = Calls()
    calls.call("DE", OK)
    while calls.call("FR", FAIL):
        calls.call("DE", OK)
    calls.parent.force_open_for(SECOND_NS, calls.now_ns)
    assert calls.cut_off() == {}
    assert calls.keys.cut_off_for_ns("FR", calls.now_ns) is None


def test_keys_are_bounded_and_only_idle_closed_ones_make_room() -> None:
    """One that is cut off, or has a call in flight, is not forgotten; what finds no room has the vendor's breaker."""
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
    """Each time between two of its failures more others are called than there is room for: it is not begun again."""
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
    """A call a minute is below every minimum: its rate is never known, but the tenth failure in a row is."""
    calls = Calls()
    for n in range(CONFIG.consecutive_failures):
        assert calls.cut_off() == {}, n
        calls.wait(60.0)
        calls.call("DE", OK)
        assert calls.call("FR", FAIL)
    assert calls.cut_off() == {"FR": "open"}


def full_of(calls: Calls, result: BreakerResult, duration_ms: int = 10) -> set[str]:
    """Every place is one's whose last call ended so."""
    for n in range(KEYS_MAX):
        permit = calls.keys.acquire(f"X{n}", calls.now_ns)
        assert isinstance(permit, Permit)
        calls.keys.record(permit, result, duration_ms * MS, calls.now_ns)
    return set(calls.keys._children)


@pytest.mark.parametrize(("result", "duration_ms"), [(FAIL, 10), (OK, 6_000)], ids=["failed", "slow"])
def test_where_nobody_is_as_new_a_further_country_shares_the_vendors(result: BreakerResult, duration_ms: int) -> None:
    """Until what failed is out of its window."""
    calls = Calls(BreakerConfig(min_calls=1000, consecutive_failures=0))
    known = full_of(calls, result, duration_ms)
    assert calls.call("DE", OK)
    assert set(calls.keys._children) == known
    calls.wait(float(CONFIG.window_size + 1))
    assert calls.call("DE", OK)
    assert set(calls.keys._children) == (known | {"DE"}) - {"X0"}


def test_one_that_was_cut_off_keeps_its_place_until_its_opening_is_forgotten() -> None:
    """A country that fails again soon waits longer than before, whatever other countries were called in between."""
    calls = cut_off_and_waited()
    while calls.cut_off():
        assert calls.call("FR", OK)
    for seconds, kept in ((CONFIG.attempts_decay_ms / 1000 - 1.0, True), (3.0, False)):
        calls.wait(seconds)
        full_of(calls, OK)
        assert ("FR" in calls.keys._children) is kept


def test_a_vendor_s_breaker_begun_anew_has_no_countries_of_before() -> None:
    """`close` said and taken back between two calls, or a reset: nobody looked while it was something else."""
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
    """Calls that hung when their country was cut off end when no other is heard any more, and count nowhere."""
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


def replicas(count: int, evidence: bool = True) -> tuple[list[Calls], Callable[[], str]]:
    """Replicas of a vendor, and the state that the plan gives it by all of their reports."""
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
    """Nine failures in each of two: before it is cut off, while it is, and in its probes. False: the control."""
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
    """Each below its own minimum; at the same call."""
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
    """FR alone fails: no vendor opens while another is heard, nobody else is refused, nothing stays in flight."""
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


def _let_pass(calls: Calls, seconds: float) -> None:
    calls.now_ns += int(seconds * SECOND_NS)


def _end_due(calls: Calls, flying: list[tuple[int, int, Permit, BreakerResult, int, str]], until_ns: int) -> None:
    for call in sorted(c for c in flying if c[0] <= until_ns):
        flying.remove(call)
        at_ns, _, permit, result, takes_ms, _ = call
        calls.keys.record(permit, result, takes_ms * MS, max(at_ns, calls.now_ns - 2 * SECOND_NS))


def _heard_lately(events: list[tuple[str, BreakerResult, int, int]], calls: Calls) -> bool:
    """Did a good country answer within the last second, while the vendor was still closed?"""
    at_ms = 0
    for key, result, takes_ms, pause_ms in reversed(events):
        at_ms += pause_ms
        if at_ms > 1_000:
            return False
        if key != "FR" and result in (OK, FAIL) and min(takes_ms, 300) <= at_ms:
            return True
    return False


def test_how_long_a_country_is_cut_off_counts_from_its_last_closed_moment() -> None:
    """Probes that fail do not begin it again; one that was well again in between does."""
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
