"""The signals to `dispatcher up` ask for a reload, a stop, or a stop without waiting."""

from __future__ import annotations

import signal

import pytest

from cluster.local.signals import Signals, StopAskedError

TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


@pytest.mark.parametrize(
    ("noted", "stop", "quietly", "at_once"),
    [
        ([], False, False, False),
        ([(0, HUP)], False, False, False),
        ([(0, TERM)], True, True, False),
        ([(0, INT)], True, False, False),
        ([(0, TERM), (5, TERM)], True, False, True),
        ([(0, TERM), (5, HUP)], True, True, False),
        ([(0, INT), (0.2, TERM), (0.4, INT), (0.9, INT)], True, False, False),
        ([(0, TERM), (0.9, TERM), (1.0, INT)], True, False, True),
    ],
)
def test_a_signal_asks_for_a_stop_and_a_later_one_for_no_more_waiting(
    noted: list[tuple[float, int]], stop: bool, quietly: bool, at_once: bool
) -> None:
    """SIGTERM or SIGINT asks for a stop, and another one later asks for a stop at once.

    Signals within a second count as one.

    A terminal and a starter such as `uv run` may each send a signal.
    """
    now_s = 0.0
    signals = Signals(lambda: now_s)
    signals.starting = False
    for now_s, number in noted:  # noqa: B007  # the clock reads it
        signals.note(number)
    assert (signals.stop, signals.quietly, signals.at_once) == (stop, quietly, at_once)


def test_a_stop_during_the_start_is_raised_once() -> None:
    """During the start, the first signal raises `StopAskedError`.

    The second raises nothing, so that the stop is not interrupted.
    """
    signals = Signals(iter([0.0, 5.0]).__next__)
    with pytest.raises(StopAskedError):
        signals.note(TERM)
    signals.note(TERM)
    assert signals.at_once


def test_a_reload_is_asked_for_once() -> None:
    """Several SIGHUP before the next look ask for one reload."""
    signals = Signals()
    signals.note(HUP)
    signals.note(HUP)
    assert (signals.reload_asked(), signals.reload_asked()) == (True, False)
