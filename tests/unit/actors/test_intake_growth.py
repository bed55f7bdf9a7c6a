"""What an intake replica tells Serve's autoscaler and people: is the start complete, is the machine full."""

from __future__ import annotations

import time
from dataclasses import replace

from actors.intake import START_S_MAX, IntakeActor
from dispatcher.core.plan.values import Plan

SETTINGS = {
    "vendors": {name: {"adapter": "twilio", "channel": "sms"} for name in "ab"},
    "routes": [{"channel": "sms", "chain": ["a", "b"]}],
}


def test_a_start_is_complete_when_each_vendor_has_an_actor_or_was_waited_for() -> None:
    """Until then intake does not grow, whatever waits outside."""
    actor = IntakeActor(SETTINGS, {}, {})
    assert not actor._start_complete()
    actor.reports = {"a/1": {"vendor": "a"}}
    assert not actor._start_complete()
    actor.reports["b/1"] = {"vendor": "b"}
    assert actor._start_complete()
    actor.reports.clear()
    actor._began_s = time.monotonic() - START_S_MAX - 1
    assert actor._start_complete()


def test_nothing_is_told_before_it_is_measured() -> None:
    """The policy then holds the size."""
    assert IntakeActor(SETTINGS, {}, {}).statistics() == {}


def test_a_full_machine_is_a_warning() -> None:
    """`dispatcher status` shows what /healthz warns of."""
    actor = IntakeActor(SETTINGS, {}, {"ingress": "haproxy"})

    class Planned:
        plan = replace(Plan(), full=("a",))

    actor.intake = Planned()  # type: ignore[assignment]
    assert actor.health()["warnings"] == ["machine full: no free core for more actors of a"]
