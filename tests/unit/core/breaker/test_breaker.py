"""Checks what our breaker adds to that of resilience4j: generations, leases, jittered waits, hints and failures in
a row.
"""

from __future__ import annotations

import pytest

from dispatcher.core.breaker.values import BreakerResult, EventKind, Permit, Refused
from tests.unit.core.breaker.scene import FAIL, MS, OK, SECOND, S, Scene

# ---- generations


def test_every_new_state_is_one_generation_on() -> None:
    """Each transition and each reset raises the breaker's generation by one. This holds also if the new state is the
    same.

    A permit carries the generation in which it was granted.
    """
    scene = Scene()
    generations = [scene.permit().generation]
    for step in (
        scene.open,
        lambda: scene.pass_ms(1000),
        lambda: scene.call(OK, OK),
        lambda: scene.breaker.reset(scene.now_ns),
        lambda: scene.breaker.force(S.FORCED_OPEN, scene.now_ns),
        lambda: scene.breaker.force(S.FORCED_OPEN, scene.now_ns),
    ):
        step()
        generations.append(scene.read().generation)
    assert generations == list(range(generations[0], generations[0] + 7))


ELSEWHERE = {
    "open": lambda scene: scene.open(),
    "half open": lambda scene: scene.half_open(),
    "closed again": lambda scene: (scene.half_open(), scene.call(OK, OK)),
    "reset": lambda scene: scene.breaker.reset(scene.now_ns),
    "forced open": lambda scene: scene.breaker.force(S.FORCED_OPEN, scene.now_ns),
    "disabled": lambda scene: scene.breaker.force(S.DISABLED, scene.now_ns),
    "metrics only": lambda scene: scene.breaker.force(S.METRICS_ONLY, scene.now_ns),
}


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("result", [*BreakerResult, None], ids=lambda result: result.value if result else "release")
def test_a_late_result_never_counts(name: str, result: BreakerResult | None) -> None:
    """A result for a permit of an earlier generation changes no count, gives back no permit, and causes no
    transition and no event.
    """
    scene = Scene()
    late = [scene.permit() for _ in range(5)]
    ELSEWHERE[name](scene)
    scene.breaker.drain_events()
    before = scene.read()
    for permit in late:
        if result is None:
            scene.breaker.release(permit)
        else:
            scene.record(permit, result)
    assert scene.read() == before
    assert scene.breaker.drain_events() == []


def test_a_late_success_does_not_close_a_half_open_breaker() -> None:
    """Calls that began before an outage succeed while the breaker is half open. They do not count.

    Only the probes decide.
    """
    scene = Scene()
    late = [scene.permit() for _ in range(4)]
    scene.half_open()
    for permit in late:
        scene.record(permit, OK)
    assert (scene.breaker.state, scene.read().buffered) == (S.HALF_OPEN, 0)
    scene.call(FAIL, FAIL)
    assert scene.breaker.state is S.OPEN


def test_a_late_probe_does_not_count_in_the_next_half_open() -> None:
    """If the breaker is half open a second time, a probe from the first time does not count and gives back no
    permit.
    """
    scene = Scene(half_open_max_wait_ms=500)
    scene.half_open()
    probe = scene.permit()
    scene.pass_ms(500)
    assert scene.breaker.state is S.OPEN
    scene.pass_ms(scene.wait_ms())
    assert scene.breaker.state is S.HALF_OPEN
    scene.record(probe, OK)
    scene.breaker.release(probe)
    assert scene.read().buffered == 0
    assert [type(scene.breaker.acquire(scene.now_ns)) for _ in range(3)] == [Permit, Permit, Refused]


def test_a_hanging_call_of_an_earlier_generation_does_not_open_this_one() -> None:
    """A call that began before an operator's reset and still hangs does not open the breaker after the reset."""
    scene = Scene(stall_detection=True, slow_ns=100 * MS)
    old = [scene.permit() for _ in range(4)]
    scene.breaker.reset(scene.now_ns)
    scene.pass_ms(200)
    assert scene.breaker.state is S.CLOSED
    assert not any(permit.ended for permit in old)


def test_a_second_report_for_a_permit_changes_nothing() -> None:
    """A permit that is recorded twice and then released counts as one result and frees no second permit."""
    scene = Scene()
    scene.half_open()
    probe = scene.permit()
    scene.record(probe, OK)
    scene.record(probe, FAIL)
    scene.breaker.release(probe)
    assert (scene.read().buffered, scene.read().failed) == (1, 0)
    scene.permit()
    scene.refused()


# ---- half-open permits and their leases


@pytest.mark.parametrize("result", [BreakerResult.IGNORED, BreakerResult.THROTTLED, BreakerResult.LOCAL, None])
def test_a_probe_that_says_nothing_gives_its_permit_back(result: BreakerResult | None) -> None:
    """A probe that was ignored, throttled, failed locally or released gives its permit back, so another probe may
    be sent.
    """
    scene = Scene()
    scene.half_open()
    for _ in range(5):
        probe = scene.permit()
        if result is None:
            scene.breaker.release(probe)
        else:
            scene.record(probe, result)
    assert (scene.breaker.state, scene.read().buffered) == (S.HALF_OPEN, 0)
    scene.permit()
    scene.permit()
    scene.refused()


def test_a_lost_probe_counts_as_failed_when_its_lease_ends() -> None:
    """Two probes are out and get no answer. Each counts as failed exactly when its lease ends.

    After the second lease has ended, the breaker opens, although no further call was made.
    """
    scene = Scene(probe_lease_ms=300)
    scene.half_open()
    scene.permit()
    scene.pass_ms(100)
    scene.permit()
    assert scene.breaker.next_deadline_ns() == scene.now_ns + 200 * MS
    scene.pass_ms(199)
    assert scene.read().buffered == 0
    scene.pass_ms(1)
    assert (scene.breaker.state, scene.read().failed) == (S.HALF_OPEN, 1)
    scene.pass_ms(100)
    assert scene.breaker.state is S.OPEN


def test_a_probe_that_reports_after_its_lease_is_late() -> None:
    """A probe's lease ends before the probe has reported, so a failure is counted. A success that the probe reports
    later does not change that.
    """
    scene = Scene(probe_lease_ms=300, failure_rate=100.0)
    scene.half_open()
    probe = scene.permit()
    scene.pass_ms(300)
    scene.record(probe, OK)
    assert (scene.read().buffered, scene.read().failed) == (1, 1)


def test_a_probe_in_time_has_no_lease_left() -> None:
    """A probe's permit has a lease, after which a probe without an answer counts as failed. A probe has answered in
    time. The end of its lease then changes nothing.
    """
    scene = Scene(probe_lease_ms=300)
    scene.half_open()
    scene.call(OK)
    assert scene.breaker.next_deadline_ns() is None
    scene.pass_ms(10_000)
    assert (scene.breaker.state, scene.read().buffered, scene.read().failed) == (S.HALF_OPEN, 1, 0)


def test_leases_that_end_during_a_stall_are_settled_as_of_their_time() -> None:
    """Two probes of a half-open breaker get no answer, and their leases end. The breaker is told the time only an hour
    later.

    It then opens as of the end of the second lease. As the wait is over by now, it is half open again.
    """
    scene = Scene(probe_lease_ms=300)
    scene.half_open()
    scene.permit()
    scene.permit()
    scene.breaker.drain_events()
    scene.pass_ms(3_600_000)
    moves = [(event.source, event.to) for event in scene.breaker.drain_events() if event.kind is EventKind.TRANSITION]
    assert moves == [(S.HALF_OPEN, S.OPEN), (S.OPEN, S.HALF_OPEN)]
    assert scene.read().attempts == 2


def test_a_lease_does_not_outlast_its_state() -> None:
    """If the vendor asks for a wait while two probes are out, the breaker opens.

    The probes' leases end with the half-open state and count nothing later.
    """
    scene = Scene(probe_lease_ms=300)
    scene.half_open()
    scene.permit()
    scene.permit()
    scene.breaker.open_for(5 * SECOND, scene.now_ns)
    assert scene.breaker.next_deadline_ns() == scene.now_ns + 5 * SECOND
    scene.pass_ms(5000)
    assert (scene.breaker.state, scene.read().buffered) == (S.HALF_OPEN, 0)
    assert scene.breaker.next_deadline_ns() is None


def test_a_closed_breaker_leases_nothing() -> None:
    """A permit of a closed breaker has no lease, because its call may take as long as its timeout."""
    scene = Scene(probe_lease_ms=300)
    assert scene.permit().lease_until_ns is None
    assert scene.breaker.next_deadline_ns() is None


# ---- failures in a row

ROW = {"consecutive_failures": 3, "window_size": 100, "min_calls": 100}


def test_failures_in_a_row_open_before_the_window_has_its_minimum() -> None:
    """`consecutive_failures` is three. After two failures in a row the breaker is closed, and after the third it opens,
    although its window has too few calls for a rate.

    The event names this rule as its reason.
    """
    scene = Scene(**ROW)
    scene.call(FAIL, FAIL)
    assert scene.breaker.state is S.CLOSED
    scene.call(FAIL)
    assert scene.breaker.state is S.OPEN
    assert scene.breaker.drain_events()[-1].reason == "consecutive failures"


def test_a_success_in_between_starts_the_row_again() -> None:
    """A success sets the count of failures in a row to 0. So the breaker stays closed if two of each three calls fail.

    Three failures in a row open it.
    """
    scene = Scene(**ROW)
    scene.call(*[FAIL, FAIL, OK] * 10)
    assert scene.breaker.state is S.CLOSED
    scene.call(FAIL, FAIL, FAIL)
    assert scene.breaker.state is S.OPEN


@pytest.mark.parametrize("result", [BreakerResult.IGNORED, BreakerResult.THROTTLED, BreakerResult.LOCAL])
def test_what_is_no_result_neither_breaks_nor_lengthens_a_row(result: BreakerResult) -> None:
    """A result that was ignored, throttled, or failed on our side of the network (local origin) neither continues nor
    ends a row of failures.
    """
    scene = Scene(**ROW)
    scene.call(FAIL, FAIL, *[result] * 5)
    assert scene.breaker.state is S.CLOSED
    scene.call(FAIL)
    assert scene.breaker.state is S.OPEN


def test_a_row_does_not_continue_over_a_new_state() -> None:
    """The breaker opens after some failures in a row. Failures before a reset do not count for failures in a row after
    it.
    """
    scene = Scene(**ROW)
    scene.call(FAIL, FAIL)
    scene.breaker.reset(scene.now_ns)
    scene.call(FAIL, FAIL)
    assert scene.breaker.state is S.CLOSED


def test_without_the_rule_only_rates_open() -> None:
    """With `consecutive_failures` 0, the breaker opens only by its failure rate."""
    scene = Scene(**{**ROW, "consecutive_failures": 0})
    scene.call(*[FAIL] * 99)
    assert scene.breaker.state is S.CLOSED
    scene.call(FAIL)
    assert scene.breaker.state is S.OPEN


def test_what_only_measures_does_not_open_by_a_row() -> None:
    """A breaker in the state metrics-only gets many failures in a row. It counts them, and stays in this state."""
    scene = Scene(**ROW)
    scene.breaker.force(S.METRICS_ONLY, scene.now_ns)
    scene.call(*[FAIL] * 10)
    assert (scene.breaker.state, scene.read().failed) == (S.METRICS_ONLY, 10)
