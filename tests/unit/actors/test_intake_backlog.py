"""What an intake replica tells of work that waits: /healthz, the vendors, the metrics."""

from __future__ import annotations

import time
from typing import Any
from unittest import mock

import pytest

from actors.intake import IntakeActor
from dispatcher.adapters.memory.cell import Cell
from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.core.life.notification import Backlog, Lane
from dispatcher.core.plan.values import Plan, VendorPlan
from tests.contract.worlds import retry, trigger

SETTINGS: dict[str, Any] = {
    "vendors": {
        "a": {"adapter": "twilio", "channel": "sms"},
        "m": {"adapter": "sendgrid", "channel": "email"},
    },
    "routes": [{"channel": "sms", "chain": ["a"]}, {"channel": "email", "chain": ["m"]}],
}


class _Control(MemoryControl):
    async def memory(self) -> tuple[int, int]:
        return 1, 2


def plan(state: str = "closed") -> Plan:
    return Plan(1, 0, {name: VendorPlan(name, state, state == "closed", (name,)) for name in "am"})


@pytest.fixture
def actor() -> IntakeActor:
    made = IntakeActor(SETTINGS, {}, {"ingress": "haproxy"})
    made.control = _Control(Cell(SystemClock()))  # type: ignore[assignment]
    made.intake = mock.Mock(plan=plan())
    return made


def look(actor: IntakeActor, seconds: int) -> None:
    """One look a second at one notification that nobody delivers."""
    for second in range(seconds + 1):
        box = Backlog("a", ready_ms=second * 1000)
        box.counts["queued"] = 1
        with mock.patch("actors.intake.time.monotonic", lambda at=second: 100.0 + at):
            actor._look_for_stalls({"a": box})


async def test_a_stall_is_a_field_a_warning_and_a_metric(actor: IntakeActor) -> None:
    """And it ends with the first delivery, whichever actor says so."""
    look(actor, 29)
    assert actor.health()["stalled"] == []
    assert 'dispatcher_stalled_seconds{vendor="a"} 0.0' in (await actor.metrics_text()).decode()
    look(actor, 35)
    health = actor.health()
    assert health["stalled"] == [{"vendor": "a", "channel": "sms", "waiting": 1, "seconds": 35.0}]
    assert any(warning.startswith("delivery is stalled: a is healthy") for warning in health["warnings"])
    assert 'dispatcher_stalled_seconds{vendor="a"} 35.0' in (await actor.metrics_text()).decode()
    counted = {"c": [["dispatcher_attempts", ["a", "accepted"], 1]]}
    actor.reports["a/1"] = {"vendor": "a", "incarnation": "a/1", "metrics": counted, "heard_s": time.monotonic()}
    look(actor, 0)
    assert actor.health()["stalled"] == []


async def test_readiness_says_nothing_of_a_stall(actor: IntakeActor) -> None:
    """A stall must never make a load balancer refuse checkouts: what is posted is made durable."""
    actor.templates = mock.Mock(loaded=True)
    actor._store_ok_s = time.monotonic()
    actor.intake.headroom = mock.Mock(memory_ratio=0.0)
    look(actor, 35)
    assert actor.health()["stalled"] and actor.ready() is None


async def test_a_channel_without_a_vendor_is_a_field_and_a_metric(actor: IntakeActor) -> None:
    """Of each channel by itself."""
    actor.intake.plan = Plan(1, 0, {**plan().vendors, "m": plan("open").vendors["m"]})
    assert actor.health()["channels_without_vendor"] == ["email"]
    assert any("no vendor is left for email" in warning for warning in actor.health()["warnings"])
    text = (await actor.metrics_text()).decode()
    assert 'dispatcher_channel_vendors{channel="email"} 0.0' in text
    assert 'dispatcher_channel_vendors{channel="sms"} 1.0' in text


async def test_what_is_due_is_seen_by_everybody(actor: IntakeActor) -> None:
    """Sixty messages waited between two tries, and vendors, status and metrics said 0."""
    cell = actor.control._cell  # type: ignore[attr-defined]
    store, me = MemoryStore(cell), await actor.control.register("a")
    await store.accept([trigger() for _ in range(60)])
    claims = (await store.claim(me, [Lane("a", "normal")], 60)).claims
    await store.apply(me, [(claim, retry(300_000)) for claim in claims], 0)
    (row, other) = await actor.vendors()
    assert (row["queued"], row["waiting"], row["places"]["due"]) == (0, 60, 60)
    assert row["oldest_age_ms"] > 0
    assert row["next_try_ms"] - time.time() * 1000 > 290_000 and row["next_try"].startswith("20")
    assert (other["waiting"], other["next_try"]) == (0, None)
    text = (await actor.metrics_text()).decode()
    assert 'dispatcher_backlog{mailbox="a",place="due"} 60.0' in text
    assert 'dispatcher_mailbox_oldest_age_seconds{mailbox="a"} 0.0' not in text
