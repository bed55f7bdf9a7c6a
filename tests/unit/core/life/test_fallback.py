"""Checks the rules of a fallback for every state of the first notification."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.life.choices import WaitFor
from dispatcher.core.life.fallback import LOOK_AGAIN_MS, WAITING, Fate, First, decide_fallback, look_again_ms
from dispatcher.core.life.notification import State

RECEIPTS = (None, "delivered", "undelivered")
firsts = st.builds(First, st.sampled_from(State), st.booleans(), st.sampled_from(RECEIPTS))
waits: st.SearchStrategy[WaitFor] = st.sampled_from(("accepted", "delivered"))


@given(first=firsts, wait_for=waits, is_late=st.booleans())
def test_it_never_begins_while_something_may_come_of_the_first(first: First, wait_for: WaitFor, is_late: bool) -> None:
    """A fallback does not begin while its first notification has a call in flight, is held or has succeeded.

    Before the fallback's own time, it begins only if the first notification is dead or was reported as undelivered.
    """
    if decide_fallback(first, wait_for, is_late) is not Fate.BEGIN:
        return
    assert first.state is not State.HELD
    assert not (first.claimed and first.state in WAITING)
    assert not (first.state is State.SETTLED and (wait_for == "accepted" or first.receipt == "delivered"))
    assert is_late or first.state is State.DEAD or first.receipt == "undelivered"


@given(first=firsts, wait_for=waits)
def test_every_end_of_the_first_decides_about_it(first: First, wait_for: WaitFor) -> None:
    """The time at which a fallback may begin has come. The fallback then waits only while an actor has claimed the
    first notification, or while the first notification is held or itself stands by.
    """
    open_ends = (State.HELD, State.STANDBY)
    waiting = decide_fallback(first, wait_for, True) is Fate.WAIT
    assert waiting == (first.state in open_ends or (first.claimed and first.state in WAITING))


@given(first=firsts, wait_for=waits, is_late=st.booleans())
def test_nobody_wants_the_fallback_of_what_was_cancelled(first: First, wait_for: WaitFor, is_late: bool) -> None:
    """If the first notification was cancelled or suppressed, its fallback is skipped."""
    if first.state in (State.CANCELLED, State.SUPPRESSED):
        assert decide_fallback(first, wait_for, is_late) is Fate.SKIP


@given(
    first=firsts,
    now_ms=st.integers(0, 2**45),
    begin_ms=st.none() | st.integers(0, 2**45),
    expires_ms=st.integers(0, 2**45),
)
def test_it_is_never_looked_at_in_a_hot_loop(first: First, now_ms: int, begin_ms: int | None, expires_ms: int) -> None:
    """The store looks again at a waiting fallback after LOOK_AGAIN_MS at the earliest.

    If the fallback begins later than that, the store looks again exactly when the fallback begins. But if the first
    notification is held, the begin time of the fallback does not count.
    """
    again_ms = look_again_ms(first, now_ms, begin_ms=begin_ms, expires_ms=expires_ms)
    assert again_ms >= now_ms + LOOK_AGAIN_MS
    if begin_ms is not None and begin_ms > now_ms + LOOK_AGAIN_MS and first.state is not State.HELD:
        assert again_ms == begin_ms
