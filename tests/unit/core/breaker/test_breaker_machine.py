"""A breaker keeps its invariants under any order of calls, losses, operators and restarts.

A breaker that was broken on purpose is found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.breaker.probes import Probes
from dispatcher.core.breaker.values import BreakerSnapshot, Permit
from tests.unit.core.breaker.life import Life, P, S

BUDGET = settings(max_examples=60, stateful_step_count=30)


def test_no_life_breaks_an_invariant() -> None:
    """No random sequence of calls, waits, losses, overrides and restarts breaks an invariant."""
    run_state_machine_as_test(Life, settings=BUDGET)  # type: ignore[no-untyped-call]


# ---- the test of the test

_end_permit, _evaluate_stalled, _begin, _snapshot = (
    Breaker._end_permit,
    Breaker._evaluate_stalled,
    Breaker._begin,
    Breaker.snapshot,
)


def late_results_count(self: Breaker, permit: Permit) -> bool:
    return _end_permit(self, permit) or permit.generation < self.generation


def ended_twice(self: Breaker, permit: Permit) -> bool:
    permit.ended = False
    return _end_permit(self, permit)


def stalls_as_of_the_look(self: Breaker, now_ns: int) -> bool:
    counts = self._window.counts(now_ns)
    if self.state is S.CLOSED and self._in_flight.hang(now_ns, counts, least=self._min, in_a_row=self._in_a_row):
        self._enter(S.OPEN, now_ns, "stalled")
    return False


def probes_without_end(self: Probes) -> bool:
    return self._permits > 0


def half_open_for_ever(self: Breaker, to: BreakerState, now_ns: int, duration_ns: int | None) -> None:
    _begin(self, to, now_ns, duration_ns)
    if to is S.HALF_OPEN:
        self._timer = None
        self._probes._granted = 4 * P


def generation_kept(self: Breaker, to: BreakerState, now_ns: int, duration_ns: int | None) -> None:
    _begin(self, to, now_ns, duration_ns)
    if to is S.HALF_OPEN:
        self.generation -= 1


def wait_forgotten(self: Breaker, now_ns: int) -> BreakerSnapshot:
    return replace(_snapshot(self, now_ns), wait_ns=0)


def row_forgotten(self: Breaker, now_ns: int) -> BreakerSnapshot:
    return replace(_snapshot(self, now_ns), in_a_row=0)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("_end_permit", late_results_count),
        ("_end_permit", ended_twice),
        ("_evaluate_stalled", stalls_as_of_the_look),
        ("left", probes_without_end),
        ("_begin", half_open_for_ever),
        ("_begin", generation_kept),
        ("snapshot", wait_forgotten),
        ("snapshot", row_forgotten),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_breaker_is_found(name: str, instead: Callable[..., Any]) -> None:
    """A breaker with a deliberate mistake breaks an invariant within fifty seeded runs of the state machine."""
    hasty = settings(BUDGET, database=None, deadline=None, phases=[Phase.generate])
    broken = Probes if name == "left" else Breaker
    with mock.patch.object(broken, name, instead), pytest.raises(AssertionError):
        for number in range(50):
            seeded = seed(number)(type("Life", (Life,), {}))
            run_state_machine_as_test(seeded, settings=hasty)  # type: ignore[no-untyped-call]
