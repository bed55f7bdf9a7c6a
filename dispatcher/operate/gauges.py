"""The gauges of `/metrics`: the present state of mailboxes, vendors, plan and store.

The counters come from the reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dispatcher.core.life.backlog import PLACES, Backlog, MailboxDepth
from dispatcher.core.plan.stall import working_vendors
from dispatcher.core.plan.values import Plan, Report
from dispatcher.core.store.replication import Standing
from dispatcher.operate.listener_certificate import ListenerCertificate
from dispatcher.telemetry.metrics import Gauge

STATES = ("closed", "half_open", "open", "forced_open", "absent", "quarantined")


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of everything that the gauges show.

    Attributes:
        depths: how many entries each mailbox has.
        backlog: how many notifications wait for each mailbox, and since when.
        counts: the notifications outside the mailboxes, by place.
        memory: the bytes that the store uses and may use; 0 means no limit.
        log_faults: which operations on the store's append-only file failed when they last ran.
        channels: the channel of each configured vendor.
        stalled_s: for how many seconds each configured vendor has been stalled; 0 if a vendor is not stalled.
        replicas: how many replicas had the last write on disk; None if writes do not wait for replicas.
        certificate: the certificate of the machine that was asked; None if that machine does not listen by HTTPS.
        now_ms: the wall time of this reading.
    """

    depths: Mapping[str, MailboxDepth]
    backlog: Mapping[str, Backlog]
    counts: Mapping[str, int]
    memory: tuple[int, int]
    log_faults: tuple[str, ...]
    plan: Plan
    channels: Mapping[str, str]
    stalled_s: Mapping[str, float]
    reports: tuple[Report, ...]
    replicas: Standing | None = None
    certificate: ListenerCertificate | None = None
    now_ms: int = 0


def gauges(found: Reading) -> list[Gauge]:
    """Return every gauge of one reading."""
    return [*_mailboxes(found), *_vendors(found), *_store(found), *_listener(found)]


def _mailboxes(found: Reading) -> Iterator[Gauge]:
    boxes = {name: box for name, box in found.backlog.items() if name}
    yield Gauge(
        "dispatcher_mailbox_depth",
        "Entries in a lane of a mailbox, including claimed ones",
        ("mailbox", "lane"),
        [((name, lane), n) for name, depth in found.depths.items() for lane, n in depth.queued.items()],
    )
    yield Gauge(
        "dispatcher_mailbox_oldest_age_seconds",
        "Age of the oldest notification for a mailbox, wherever it waits",
        ("mailbox",),
        [((name,), box.oldest_age_ms / 1000) for name, box in boxes.items()],
    )
    yield Gauge(
        "dispatcher_backlog",
        "Notifications for a mailbox that have not ended, by the place where they wait",
        ("mailbox", "place"),
        [((name, place), n) for name, box in boxes.items() for place, n in box.counts.items()],
    )
    yield Gauge(
        "dispatcher_backlog_oldest_age_seconds",
        "Age of the oldest notification for a mailbox, by the place where it waits",
        ("mailbox", "place"),
        [((name, place), box.ages_ms.get(place, 0) / 1000) for name, box in boxes.items() for place in PLACES],
    )


def _vendors(found: Reading) -> Iterator[Gauge]:
    plan = found.plan
    reports = {name: [report for report in found.reports if report.vendor == name] for name in plan.vendors}
    yield Gauge(
        "dispatcher_stalled_seconds",
        "How long work has waited for a healthy vendor that delivers nothing; 0 if it delivers",
        ("vendor",),
        [((name,), seconds) for name, seconds in found.stalled_s.items()],
    )
    yield Gauge(
        "dispatcher_channel_vendors",
        "Vendors of a channel that get new messages",
        ("channel",),
        [((channel,), n) for channel, n in working_vendors(plan, found.channels).items()],
    )
    yield Gauge(
        "dispatcher_breaker_state",
        "1 for the state that a vendor has in the plan, 0 for the others",
        ("vendor", "state"),
        [((name, state), float(v.state == state)) for name, v in plan.vendors.items() for state in STATES],
    )
    yield Gauge(
        "dispatcher_calls",
        "Calls to a vendor in flight, and the present limit of its actors",
        ("vendor", "which"),
        [
            ((name, which), total)
            for name, told in reports.items()
            for which, total in (
                ("in_flight", sum(r.in_flight for r in told)),
                ("limit", sum(r.concurrency for r in told)),
            )
        ],
    )
    yield Gauge(
        "dispatcher_countries_cut_off",
        "Countries that a vendor cannot reach, if breaker.per is country",
        ("vendor",),
        [((name,), len({country for report in told for country in report.cut_off})) for name, told in reports.items()],
    )


def _store(found: Reading) -> Iterator[Gauge]:
    plan = found.plan
    used, most = found.memory
    yield Gauge(
        "dispatcher_waiting",
        "Notifications outside the mailboxes, by place",
        ("place",),
        [((place,), n) for place, n in found.counts.items()],
    )
    yield Gauge(
        "dispatcher_own_network_suspected",
        "1 while more than half of the vendors fail before they are reached",
        (),
        [((), float(bool(plan.unreached)))],
    )
    yield Gauge(
        "dispatcher_machine_full",
        "1 for a vendor whose pool needs another actor while no core is free",
        ("vendor",),
        [((name,), float(name in plan.full)) for name in plan.vendors],
    )
    yield Gauge("dispatcher_plan_epoch", "Epoch of the plan in force", (), [((), plan.epoch)])
    yield Gauge(
        "dispatcher_store_log_fails",
        "1 if the last operation of this kind on the append-only file failed",
        ("work",),
        [((work,), float(work in found.log_faults)) for work in ("rewrite", "write")],
    )
    yield Gauge(
        "dispatcher_store_replicas",
        "Replicas of Redis with durability replica: known, needed for a write, and in sync at the last write",
        ("of",),
        [((of,), float(count)) for of, count in _counts(found.replicas)],
    )
    yield Gauge("dispatcher_store_memory_bytes", "Memory that Redis uses", (), [((), used)])
    yield Gauge("dispatcher_store_memory_bytes_max", "Memory that Redis may use; 0 means no limit", (), [((), most)])


def _listener(found: Reading) -> Iterator[Gauge]:
    known = [] if found.certificate is None else [found.certificate]
    yield Gauge(
        "dispatcher_certificate_left_seconds",
        "How long the certificate of the machine that was asked is still valid; negative after its end",
        (),
        [((), float(round(one.ends_s - found.now_ms / 1000))) for one in known],
    )
    yield Gauge(
        "dispatcher_certificate_refused",
        "1 while the changed certificate files of the machine that was asked are refused",
        (),
        [((), float(one.refused)) for one in known],
    )


def _counts(replicas: Standing | None) -> list[tuple[str, int]]:
    if replicas is None:
        return []
    return [("known", replicas.known), ("needed", replicas.needed), ("synced", replicas.synced)]
