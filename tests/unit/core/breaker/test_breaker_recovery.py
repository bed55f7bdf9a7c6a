"""Checks how the breaker finds a vendor that hangs, and how it lets the vendor come back: first by probes, then by
growing shares of the traffic.
"""

from __future__ import annotations

import pytest

from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import BreakerConfig, BreakerState
from dispatcher.core.breaker.values import BreakerResult, EventKind, Permit

S = BreakerState
OK, FAIL = BreakerResult.SUCCESS, BreakerResult.FAILURE
MS, SECOND = 1_000_000, 1_000_000_000
BASE = {
    "min_calls": 10,
    "slow_ns": 2 * SECOND,
    "consecutive_failures": 5,
    "open_wait_ms": 1000,
    "open_wait_jitter": 0.0,
    "half_open_calls": 4,
    "half_open_max_wait_ms": 5000,
    "ramp": (0.1, 0.5),
    "ramp_calls": 3,
    "ramp_max_wait_ms": 2000,
    "attempts_decay_ms": 60_000,
}


class Scene:
    """A breaker with a clock of its own and the settings of these tests."""

    def __init__(self, **changes: object) -> None:
        self.now_ns = 1000 * SECOND
        self.breaker = Breaker(BreakerConfig(**{**BASE, **changes}), self.now_ns)  # type: ignore[arg-type]

    def pass_s(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND)
        self.breaker.tick(self.now_ns)

    def permit(self) -> Permit:
        permit = self.breaker.acquire(self.now_ns)
        assert isinstance(permit, Permit), permit
        return permit

    def end(self, permit: Permit, result: BreakerResult, duration_s: float = 0.01) -> None:
        self.breaker.record(permit, result, int(duration_s * SECOND), self.now_ns)

    def call(self, *results: BreakerResult) -> None:
        for result in results:
            self.end(self.permit(), result)

    def half_open(self) -> None:
        self.call(*[FAIL] * 5)
        self.pass_s(self.breaker.retry_after_ns(self.now_ns) / SECOND)
        assert self.breaker.state is S.HALF_OPEN

    def reasons(self) -> list[str]:
        return [event.reason for event in self.breaker.drain_events() if event.kind is EventKind.TRANSITION]


# ---- few messages


@pytest.mark.parametrize(
    ("probes", "share", "reasons"),
    [
        ([OK], 0.1, []),
        ([OK, OK, OK], 0.1, []),
        ([FAIL], None, ["probes failed"]),
        ([OK, None], None, ["no verdict in time"]),
    ],
    ids=["one-success", "three-successes", "one-failure", "one-without-an-answer"],
)
def test_the_answered_probes_decide_when_their_time_is_over(
    probes: list[BreakerResult | None], share: float | None, reasons: list[str]
) -> None:
    """When the half-open time is over with fewer probes than usual, the answered probes decide.

    A probe without an answer opens the breaker.
    """
    scene = Scene()
    scene.half_open()
    for result in probes:
        permit = scene.permit()
        if result is not None:
            scene.end(permit, result)
    scene.reasons()
    scene.pass_s(5)
    assert (scene.breaker.share, scene.reasons()) == (share, reasons)
    assert scene.breaker.state is (S.HALF_OPEN if share else S.OPEN)


def test_a_vendor_with_one_message_a_minute_comes_back() -> None:
    """After one successful probe, the stages of recovery pass without traffic, and the breaker closes."""
    scene = Scene(half_open_max_wait_ms=30_000)
    scene.half_open()
    scene.pass_s(60)
    assert scene.breaker.state is S.HALF_OPEN
    scene.call(OK)
    scene.pass_s(60)
    assert scene.breaker.state is S.CLOSED


# ---- calls that hang


def test_hanging_calls_open_it_before_they_time_out() -> None:
    """Five calls hang without any answer. The breaker opens when the fifth has been in flight for longer than the slow
    threshold, however many calls succeeded before.
    """
    scene = Scene()
    scene.call(*[OK] * 100)
    scene.pass_s(0.1)
    for _ in range(5):
        scene.permit()
        scene.pass_s(0.1)
    scene.pass_s(1.8)
    assert scene.breaker.state is S.CLOSED
    scene.pass_s(0.2)
    assert scene.breaker.state is S.OPEN
    assert scene.reasons() == ["stalled"]


def test_answers_between_hanging_calls_keep_it_closed() -> None:
    """A few hanging calls among many successful calls leave the breaker closed."""
    scene = Scene()
    for _ in range(9):
        scene.permit()
        scene.pass_s(0.3)
        scene.call(*[OK] * 20)
    scene.pass_s(1.0)
    assert scene.breaker.state is S.CLOSED


def test_a_share_of_hanging_calls_as_large_as_the_slow_rate_opens_it() -> None:
    """Calls that hang count as slow calls of the window before they end.

    If their share reaches the slow rate, the breaker opens, even if another call succeeded meanwhile.
    """
    scene = Scene(consecutive_failures=0, slow_rate=80.0)
    for _ in range(8):
        scene.permit()
    scene.pass_s(2.1)
    scene.call(OK)
    assert scene.breaker.state is S.CLOSED
    scene.permit()
    scene.pass_s(2.1)
    assert scene.breaker.state is S.OPEN


def test_the_late_end_of_a_hanging_call_changes_nothing() -> None:
    """A hanging call was counted when it opened the breaker. When it ends later, nothing is counted again."""
    scene = Scene()
    hanging = [scene.permit() for _ in range(5)]
    scene.pass_s(2.1)
    scene.pass_s(1.0)
    assert scene.breaker.state is S.HALF_OPEN
    for permit in hanging:
        scene.end(permit, FAIL, 10.0)
    assert scene.breaker.state is S.HALF_OPEN
    assert scene.breaker.metrics(scene.now_ns).buffered == 0


# ---- the way back


def test_it_comes_back_by_probes_then_by_growing_shares() -> None:
    """After its probes a vendor gets 10 % and then 50 % of the traffic.

    Each stage needs results of its own, and after the last stage the breaker closes.
    """
    scene = Scene()
    scene.half_open()
    assert scene.breaker.share is None
    shares = []
    scene.call(*[OK] * 4)
    for _ in range(2):
        shares.append(scene.breaker.share)
        assert scene.breaker.state is S.HALF_OPEN
        scene.call(*[OK] * 3)
    assert shares == [0.1, 0.5]
    assert scene.breaker.state is S.CLOSED
    assert scene.breaker.share is None
    assert scene.reasons() == ["consecutive failures", "wait over", "recovered"]


def test_a_bad_stage_opens_it_again_for_longer() -> None:
    scene = Scene()
    scene.half_open()
    scene.call(*[OK] * 4, FAIL, FAIL)
    assert scene.breaker.state is S.OPEN
    assert scene.breaker.share is None
    assert scene.breaker.retry_after_ns(scene.now_ns) == 2 * SECOND


def test_a_result_of_an_earlier_stage_does_not_count() -> None:
    """A call that began in an earlier stage of recovery does not count in the next stage."""
    scene = Scene()
    scene.half_open()
    scene.call(*[OK] * 3)
    last, late = scene.permit(), None
    scene.end(last, OK)
    late = scene.permit()
    scene.call(*[OK] * 3)
    scene.end(late, FAIL)
    assert scene.breaker.share == 0.5
    assert scene.breaker.metrics(scene.now_ns).failed == 0


def test_a_stage_with_little_traffic_passes_by_time() -> None:
    """A recovering breaker gets too few calls for a stage of its recovery. The stage passes when its maximum wait is
    over.

    So a vendor also recovers at night.
    """
    scene = Scene()
    scene.half_open()
    scene.call(*[OK] * 4)
    scene.pass_s(2.0)
    assert scene.breaker.share == 0.5
    scene.pass_s(2.0)
    assert scene.breaker.state is S.CLOSED


def test_a_stage_of_which_nothing_is_heard_waits() -> None:
    """The calls of a stage of recovery hang. The stage then does not end after its time, as a stage without traffic
    does.

    When the calls are overdue they count as slow, and the breaker opens.
    """
    scene = Scene()
    scene.half_open()
    scene.call(*[OK] * 4)
    hanging = [scene.permit() for _ in range(2)]
    scene.pass_s(2.0)
    assert scene.breaker.share == 0.1, "not yet overdue"
    scene.pass_s(2.0)
    assert scene.breaker.state is S.OPEN
    assert scene.reasons()[-1] == "probes slow"
    for permit in hanging:
        scene.end(permit, FAIL, 4.0)
    assert scene.breaker.metrics(scene.now_ns).failed == 0


def test_a_stage_with_little_traffic_that_fails_does_not_pass() -> None:
    """A recovery stage has only one call, and this call fails. The breaker opens again at the end of the stage."""
    scene = Scene()
    scene.half_open()
    scene.call(*[OK] * 4)
    scene.call(FAIL)
    scene.pass_s(2.0)
    assert scene.breaker.state is S.OPEN
    assert scene.reasons()[-1] == "probes failed"


def test_probes_end_as_soon_as_the_verdict_is_certain() -> None:
    """Two failures of four probes open the breaker at once, because the failure rate is reached whatever the other
    two would do.
    """
    scene = Scene()
    scene.half_open()
    scene.call(FAIL)
    assert scene.breaker.state is S.HALF_OPEN
    scene.call(FAIL)
    assert scene.breaker.state is S.OPEN


def test_half_open_without_a_call_stays_so() -> None:
    """A half-open breaker without any call stays half open, and its next wait does not grow.

    A call that gets no answer opens it.
    """
    scene = Scene()
    scene.half_open()
    for _ in range(20):
        scene.pass_s(5.0)
    assert scene.breaker.state is S.HALF_OPEN
    assert scene.breaker.metrics(scene.now_ns).attempts == 1
    scene.permit()
    scene.pass_s(5.1)
    assert scene.breaker.state is S.OPEN


def test_a_flapping_vendor_meets_longer_waits_and_a_steady_one_is_forgiven() -> None:
    """A breaker that opens again soon after it closed waits longer.

    Each minute in the closed state takes one opening from the count.
    """
    scene = Scene(ramp=())
    waits = []
    for closed_s in (0, 0, 60, 600):
        scene.pass_s(closed_s)
        scene.call(*[FAIL] * 5)
        waits.append(scene.breaker.retry_after_ns(scene.now_ns) // SECOND)
        scene.pass_s(waits[-1])
        scene.call(*[OK] * 4)
        assert scene.breaker.state is S.CLOSED
    assert waits == [1, 2, 2, 1]
