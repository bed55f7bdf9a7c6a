"""An intake replica shows waiting work, stalls and warnings in /healthz, the vendor views and the metrics."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

from dispatcher.accept.store_watch import StoreBreaks
from dispatcher.adapters.memory.cell import Cell
from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.config.settings import parse_settings
from dispatcher.core.life.backlog import Backlog
from dispatcher.core.life.notification import Lane
from dispatcher.core.plan.stall import StallWatch
from dispatcher.core.plan.values import Plan, Report, VendorPlan
from dispatcher.operate.fleet import Fleet
from dispatcher.operate.listener_certificate import ListenerCertificate
from dispatcher.operate.probes import Probes, Replica, Watches
from dispatcher.operate.stalls import Stalls
from dispatcher.operate.vendors import Vendors
from dispatcher.telemetry.metrics import Metrics
from tests.contract.worlds import retry, trigger
from tests.virtual import VirtualClock, virtual

SETTINGS = parse_settings(
    {
        "vendors": {
            "a": {"adapter": "twilio", "channel": "sms"},
            "m": {"adapter": "sendgrid", "channel": "email"},
        },
        "routes": [{"channel": "sms", "chain": ["a"]}, {"channel": "email", "chain": ["m"]}],
    }
)
CHANNELS = {"a": "sms", "m": "email"}


class _Vitals:
    async def memory(self) -> tuple[int, int]:
        return 1, 2

    async def log_faults(self) -> tuple[str, ...]:
        return ("rewrite",)


def plan(state: str = "closed") -> Plan:
    return Plan(1, 0, {name: VendorPlan(name, state, state == "closed", (name,)) for name in "am"})


def beginning(name: str, **values: Any) -> Report:
    return Report(name, name[0], "closed", **values)


class Replicas:
    """One intake replica's watches, probes and vendor views, on a memory store."""

    def __init__(self) -> None:
        clock = VirtualClock()
        self.cell = Cell(clock)
        self.control = MemoryControl(self.cell)
        self.intake: Any = mock.Mock(plan=plan(), started=True, nearly_full=False)
        breaks = StoreBreaks(Metrics(), clock)
        self.fleet = Fleet(clock, breaks.continuity)
        self.stalls = Stalls(StallWatch(CHANNELS, {}), self.fleet, lambda: self.intake.plan, clock)
        watches = Watches(mock.Mock(answers=True, log_faults=()), breaks, self.fleet, self.stalls)
        vitals: Any = _Vitals()
        replica = Replica("0", {"ingress": "haproxy"})
        self.probes = Probes(self.intake, watches, self.control, vitals, channels=CHANNELS, replica=replica)
        self.vendors = Vendors(SETTINGS.vendors, self.control, self.fleet, lambda: self.intake.plan, clock=clock)

    async def look(self, seconds: int) -> None:
        """Let `seconds` seconds pass in which one notification waits and nobody delivers it. The stall check looks once
        a second.
        """
        for second in range(seconds + 1):
            box = Backlog("a", ready_ms=second * 1000)
            box.counts["queued"] = 1
            self.stalls.look({"a": box})
            await asyncio.sleep(1.0)

    async def metrics(self) -> str:
        return (await self.probes.metrics_text()).decode()


@virtual
async def test_a_stall_is_a_field_a_warning_and_a_metric() -> None:
    """A stall appears in /healthz as a field and a warning, and in the metrics.

    The first delivery that any actor reports ends the stall.
    """
    it = Replicas()
    await it.look(29)
    assert it.probes.health()["stalled"] == []
    assert 'dispatcher_stalled_seconds{vendor="a"} 0.0' in await it.metrics()
    it = Replicas()
    await it.look(35)
    health = it.probes.health()
    assert health["stalled"] == [{"vendor": "a", "channel": "sms", "waiting": 1, "seconds": 35.0}]
    assert any(warning.startswith("delivery is stalled: a is healthy") for warning in health["warnings"])
    assert 'dispatcher_stalled_seconds{vendor="a"} 35.0' in await it.metrics()
    it.fleet.hear(beginning("a/1", metrics={"c": [["dispatcher_attempts", ["a", "accepted"], 1]], "h": []}))
    await it.look(0)
    assert it.probes.health()["stalled"] == []


@virtual
async def test_readiness_says_nothing_of_a_stall() -> None:
    """A replica stays ready during a stall, because accepted triggers are still stored durably."""
    it = Replicas()
    await it.look(35)
    assert it.probes.health()["stalled"] and it.probes.not_ready() is None


@virtual
async def test_a_replica_that_would_not_make_a_trigger_durable_is_not_ready() -> None:
    """An intake replica could not store a trigger durably. `not_ready` returns a text for each reason: the store is
    nearly full, the store does not answer, or the templates are not loaded.
    """
    it = Replicas()
    it.intake.nearly_full = True
    assert it.probes.not_ready() == "the store is nearly full"
    it.probes._watches.store.answers = False  # type: ignore[misc]
    assert it.probes.not_ready() == "the store does not answer"
    it.intake.started = False
    assert it.probes.not_ready() == "templates are not loaded yet"


@virtual
async def test_a_channel_without_a_vendor_is_a_field_and_a_metric() -> None:
    """A channel without a working vendor is named in /healthz, in a warning and in a metric of its own."""
    it = Replicas()
    it.intake.plan = Plan(1, 0, {**plan().vendors, "m": plan("open").vendors["m"]})
    assert it.probes.health()["channels_without_vendor"] == ["email"]
    assert any("no vendor is left for email" in warning for warning in it.probes.health()["warnings"])
    text = await it.metrics()
    assert 'dispatcher_channel_vendors{channel="email"} 0.0' in text
    assert 'dispatcher_channel_vendors{channel="sms"} 1.0' in text


@virtual
async def test_a_full_machine_is_a_warning() -> None:
    """A pool that cannot grow because the machine has no free core is a warning in /healthz, which `dispatcher
    status` shows.
    """
    it = Replicas()
    it.intake.plan = Plan(1, 0, plan().vendors, full=("a",))
    assert it.probes.health()["warnings"] == ["machine full: no free core for more actors of a"]


@virtual
async def test_a_vendor_without_an_actor_says_why() -> None:
    """A vendor without an actor for too long has the reason in its view and in a warning of /healthz. The reason of an
    operator's override stays.
    """
    it = Replicas()
    forced = VendorPlan("m", "forced_open", False, (), override="open", reason="contract ended")
    vendors = {**plan("absent").vendors, "m": forced}
    it.intake.plan = Plan(1, 0, vendors, unmanned={"a": "no_cpu", "m": "no_cpu"})
    said = "no actor runs, and no machine of Ray has enough CPU free for one; see `ray status`"
    assert f"a, m: {said}" in it.probes.health()["warnings"]
    assert [view.reason for view in await it.vendors.all()] == [said, f"contract ended; {said}"]
    it.intake.plan = Plan(1, 0, vendors, unmanned={"a": "of a newer version"})
    assert (await it.vendors.one("a")).reason == "of a newer version"
    assert "a: of a newer version" in it.probes.health()["warnings"]


@virtual
async def test_what_is_due_is_seen_by_everybody() -> None:
    """Sixty messages wait for their next try. The vendor view and the metrics count all of them."""
    it, clock = Replicas(), VirtualClock()
    store, me = MemoryStore(it.cell), await it.control.register("a")
    await store.accept([trigger() for _ in range(60)])
    claims = (await store.claim(me, [Lane("a", "normal")], 60)).claims
    await store.apply(me, [(claim, retry(300_000)) for claim in claims], 0)
    await asyncio.sleep(1.0)
    (row, other) = await it.vendors.all()
    assert (row.queued, row.waiting, row.places["due"]) == (0, 60, 60)
    assert row.oldest_age_ms > 0
    assert row.next_try_ms is not None and row.next_try_ms - clock.wall_ms() > 290_000
    assert (other.waiting, other.next_try_ms) == (0, None)
    text = await it.metrics()
    assert 'dispatcher_backlog{mailbox="a",place="due"} 60.0' in text
    assert 'dispatcher_mailbox_oldest_age_seconds{mailbox="a"} 0.0' not in text


@virtual
async def test_an_actor_that_is_silent_for_a_second_is_not_shown() -> None:
    """The vendor view leaves out an actor after 1.5 s of silence.

    The gauges count it for five seconds, so that one lost report does not make them flicker.
    """
    it = Replicas()
    it.fleet.hear(beginning("a/1", in_flight=3))
    assert [view.incarnation for view in (await it.vendors.one("a")).breaker] == ["a/1"]
    await asyncio.sleep(1.5)
    assert (await it.vendors.one("a")).replicas == 0
    assert 'dispatcher_calls{vendor="a",which="in_flight"} 3.0' in await it.metrics()
    await asyncio.sleep(4.0)
    assert 'dispatcher_calls{vendor="a",which="in_flight"} 0.0' in await it.metrics()


@virtual
async def test_a_failed_rewrite_of_the_append_only_file_is_told() -> None:
    """A failed rewrite of Redis's append-only file is a warning and a metric.

    Without them the file would grow unnoticed until the disk is full.
    """
    replicas = Replicas()
    assert replicas.probes.health()["warnings"] == []
    replicas.probes._watches.store.log_faults = ("rewrite",)  # type: ignore[misc]
    (warning,) = replicas.probes.health()["warnings"]
    assert "rewrite of its append-only file" in warning
    text = (await replicas.probes.metrics_text()).decode()
    assert 'dispatcher_store_log_fails{work="rewrite"} 1.0' in text
    assert 'dispatcher_store_log_fails{work="write"} 0.0' in text


@virtual
async def test_the_certificate_of_the_machine_that_was_asked_is_told() -> None:
    """/healthz and the metrics show the certificate of the asked machine.

    A machine that lacks its configured certificate is a warning.
    """
    it = Replicas()
    it.intake.time.now_ms.return_value = 1_000_000
    certificate = ListenerCertificate(1_000 + 86_400, True)
    assert len(it.probes.health(certificate)["warnings"]) == 2
    text = (await it.probes.metrics_text(certificate)).decode()
    assert "dispatcher_certificate_left_seconds 86400.0" in text
    assert "dispatcher_certificate_refused 1.0" in text
    assert "\ndispatcher_certificate" not in await it.metrics()
    assert it.probes.health()["warnings"] == []
    it.probes.replica = Replica("0", {"ingress": "haproxy"}, https=True)
    (warning,) = it.probes.health()["warnings"]
    assert "HAProxy on this machine has none" in warning
