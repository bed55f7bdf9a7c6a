"""An intake replica tells Serve's autoscaler whether the start is complete."""

from __future__ import annotations

from types import SimpleNamespace

from actors.intake import START_S_MAX, IntakeActor
from dispatcher.core.plan.values import Report

SETTINGS = {
    "vendors": {name: {"adapter": "twilio", "channel": "sms"} for name in "ab"},
    "routes": [{"channel": "sms", "chain": ["a", "b"]}],
}


def test_a_start_is_complete_when_each_vendor_has_an_actor_or_was_waited_for() -> None:
    """The start is complete when every vendor's actor has reported, or when `START_S_MAX` has passed.

    Intake grows only after that.
    """
    actor = IntakeActor(SETTINGS, {}, {})
    assert not actor._start_complete()
    actor._fleet.hear(Report("a/1", "a", "closed"))
    assert not actor._start_complete()
    actor._fleet.hear(Report("b/1", "b", "closed"))
    assert actor._start_complete()
    waiting = IntakeActor(SETTINGS, {}, {})
    waiting._began_s -= START_S_MAX + 1
    assert waiting._start_complete()


def test_nothing_is_told_before_it_is_measured() -> None:
    """A new intake actor has no statistics. The autoscaling policy then keeps the number of replicas."""
    assert IntakeActor(SETTINGS, {}, {}).statistics() == {}


def test_an_intake_replica_knows_a_cell_when_it_can_accept_there() -> None:
    """The cells are counted in their order, because a new number of cells puts all cells before it in force too."""
    actor = IntakeActor({**SETTINGS, "store": {"cells": ["file:/one", "file:/two"]}}, {}, {})
    ready = [SimpleNamespace(started=False) for _ in actor._parts]
    for part, intake in zip(actor._parts, ready, strict=True):
        part.intake = intake  # type: ignore[assignment]
    for starts, cells in ((2, 1), (0, 1), (1, 3)):
        ready[starts].started = True
        assert actor._cells_started() == cells
