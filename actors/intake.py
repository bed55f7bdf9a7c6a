"""The intake actor: binds `dispatcher.accept.intake` and what operators ask to start, stop and health."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.runtime import VERSION, Tasks, open_redis, receipt_links, told_cores
from dispatcher.accept.intake import Headroom, Intake
from dispatcher.adapters.api_keys import ApiKeys
from dispatcher.adapters.cores import Cores
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.adapters.redis.views import RedisViews
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.config.settings import Settings, parse_settings
from dispatcher.core.life.notification import PLACES, Backlog, Lane, MailboxDepth
from dispatcher.core.life.retry import relisten_s
from dispatcher.core.limits.lanes import full_lanes
from dispatcher.core.plan.stall import Stall, StallWatch, working_vendors
from dispatcher.core.plan.values import Plan
from dispatcher.core.store.continuity import Break, Continuity, Mark, Undone
from dispatcher.errors import TemplateError, UnavailableError
from dispatcher.operate.dead_letters import DeadLetters
from dispatcher.operate.receipts import Receipts
from dispatcher.ports import Heard
from dispatcher.telemetry.log import configure, logger
from dispatcher.telemetry.metrics import Gauge, Metrics, render
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.source import TemplateSource
from dispatcher.wire.moments import moment

REPORT_HOLDS_S = 1.0
"""A report comes ten times a second; whoever has sent none for so long is not shown as an actor any more."""

START_S_MAX = 60.0
"""A vendor whose actor has not come by then keeps intake from growing no longer."""

LINEAGE_S = 0.1
"""A store with replicas is asked so often whose writes it has. Of what it wrote since, a loss cannot be noticed."""

STATES = ("closed", "half_open", "open", "forced_open", "absent", "quarantined")


class IntakeActor:
    """One replica of the front door. All it knows of others it heard through Redis."""

    def __init__(self, settings: dict[str, Any], runtime: dict[str, str], identity: dict[str, Any]) -> None:
        self.settings: Settings = parse_settings(settings)
        self.runtime, self.identity = runtime, identity
        self._tasks = Tasks()
        self.metrics = Metrics()
        self._totals: dict[str, Any] = {"c": [], "h": []}
        self.reports: dict[str, dict[str, Any]] = {}
        self._store_ok_s = 0.0
        self._cores = Cores()
        self._began_s = time.monotonic()
        self.continuity = Continuity()
        self._broken: list[str] = []
        self._channels = {name: v.channel for name, v in self.settings.vendors.items()}
        self._stall_watch = StallWatch(self._channels, {n: v.rate_per_s for n, v in self.settings.vendors.items()})
        self.stalled: list[Stall] = []
        self._given: set[str] = set()  # templates of the file that are in the store
        self._refused: set[str] = set()  # templates of the file that do not compile
        path = runtime.get("api_keys", "")
        self.keys = ApiKeys.load(Path(path), bool(runtime.get("keys_required"))) if path else None

    async def start(self) -> None:
        configure()
        s, clock = self.settings, SystemClock()
        retention_ms = s.retention.finished_s * 1000
        self._redis = open_redis(self.runtime, timeout_s=s.limits.accept_deadline_s)
        # An operator's long listing must not hold an accept's connection; a storm of repeated keys asks in turn.
        self._asking = open_redis(self.runtime, queues_s=2.0)
        self.store = RedisStore(
            self._redis, retention_ms=retention_ms, continuity=self.continuity, on_break=self._store_broke
        )
        self.control = RedisControl(self._asking)
        self.views = RedisViews(self._asking, retention_ms=retention_ms)
        self.template_store = RedisTemplateStore(self._asking)
        self.templates = TemplateCache(self.template_store)
        self.intake = Intake(s, self.store, self.templates, clock, self.metrics, self.views.trigger)
        self.dead_letters = DeadLetters(
            self.views,
            s.vendors.__contains__,
            lambda: self.intake.plan,
            s.redrive.per_s,
            s.redrive.slow_per_s,
            self.intake.time.now_ms,
        )
        links = receipt_links(s)
        self.receipts = (
            None if links is None else Receipts(links, self.store.withdraw, self.views.trigger, self.metrics)
        )
        self._tasks.start("group commit", self.intake.run())
        self._tasks.start("templates", self._refresh_templates())
        self._tasks.start("control", self._follow())
        self._tasks.start("headroom", self._watch_headroom())
        self._tasks.start("lineage", self._watch_lineage())
        self._tasks.start("report", self._report())
        await asyncio.sleep(0)

    def check(self) -> None:
        self._tasks.check()

    def statistics(self) -> dict[str, float]:
        """Return what the size of this pool is decided by (`serve_app.autoscaling.intake_size`)."""
        found = told_cores(self._cores, time.monotonic())
        return {**found, "start_complete": float(self._start_complete())} if found else {}

    def _start_complete(self) -> bool:
        """Return True when every vendor has had an actor, or when it has been waited for long enough."""
        manned = {report["vendor"] for report in self.reports.values()}
        return manned >= set(self.settings.vendors) or time.monotonic() - self._began_s > START_S_MAX

    async def stop(self, deadline_s: float) -> None:
        with contextlib.suppress(UnavailableError):
            await self.control.report(self._statement())
        await self._tasks.stop()
        await self._redis.aclose()
        await self._asking.aclose()

    # ---- loops

    async def _refresh_templates(self) -> None:
        while True:
            with contextlib.suppress(UnavailableError):
                await self._seed_templates()  # each time: the store may have been emptied
                await self.templates.warm()
            await asyncio.sleep(0.5 if self.templates.loaded else 0.1)

    async def _seed_templates(self) -> None:
        """Store the configuration's templates once, and again what the store has lost.

        Once: while a changed file is being applied, replicas of before and after it would take turns for ever.
        """
        await self.templates.refresh()
        for name, t in self.settings.templates.items():
            if name in self._given and name in self.templates.latest:
                continue
            try:
                await self.templates.put(TemplateSource(name, t.text, t.subject, t.html), by_file=True)
                self._given.add(name)
            except TemplateError as error:  # refused when the file was read, by this version's rules at least
                if name not in self._refused:
                    self._refused.add(name)
                    logger().error("template_refused", template=name, reason=str(error))

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(UnavailableError):
                await self._read_plan()
                read_s = time.monotonic()
                async with contextlib.aclosing(self.control.listen(("plan", "totals", "report"))) as messages:
                    async for heard in messages:
                        if time.monotonic() - read_s > 2.0:
                            read_s = time.monotonic()
                            await self._read_plan()
                        if heard is not None:
                            self._hear(heard)
            await asyncio.sleep(relisten_s(random.random()))

    def _hear(self, heard: Heard) -> None:
        if heard.kind == "plan":
            self._adopt(Plan.from_dict(heard.body))
        elif heard.kind == "totals":
            self._totals = heard.body["totals"]
        elif "ledger" in heard.body:
            self.continuity.told(Mark(*heard.body["ledger"]))
        elif "incarnation" in heard.body:
            self.reports[heard.body["incarnation"]] = {**heard.body, "heard_s": time.monotonic()}

    async def _read_plan(self) -> None:
        asked_with = self.intake.plan
        plan = await self.control.plan()
        if plan is not None:
            self._adopt(plan, asked_with)
        now_s = time.monotonic()
        self.reports = {name: r for name, r in self.reports.items() if now_s - r["heard_s"] < 5.0}

    def _adopt(self, plan: Plan, asked_with: Plan | None = None) -> None:
        if plan.replaces(self.intake.plan, asked_with):
            self.intake.plan = plan

    async def _watch_headroom(self) -> None:
        while True:
            with contextlib.suppress(UnavailableError):
                known = self.continuity.mark
                found = self.continuity.judge(known, await self.control.ledger())
                if found is not None:
                    self._store_broke(found)
                self.intake.time.sync(await self.control.now_ms())
                used, most = await self.control.memory()
                depths = await self.control.depths()
                self._store_ok_s = time.monotonic()
                bound = self.settings.limits.queued_max_per_vendor
                lanes = frozenset[Lane]().union(*(full_lanes(name, d.queued, bound) for name, d in depths.items()))
                self.intake.headroom = Headroom(used / most if most else 0.0, lanes)
                self._look_for_stalls(await self.control.backlog(depths))
            await asyncio.sleep(1.0)

    def _look_for_stalls(self, backlog: Mapping[str, Backlog]) -> None:
        """Tell once of each vendor that is healthy and delivers nothing, and once when it does again."""
        for report in self.reports.values():
            self._stall_watch.delivered(report["vendor"], report["incarnation"], _delivered(report))
        before, self.stalled = self.stalled, self._stall_watch.look(self.intake.plan, backlog, time.monotonic())
        for stall in self.stalled:
            if all(known.vendor != stall.vendor for known in before):
                logger().error("delivery_stalled", vendor=stall.vendor, count=stall.waiting, seconds=stall.seconds)
        for name in {stall.vendor for stall in before} - {stall.vendor for stall in self.stalled}:
            logger().warning("delivery_resumed", vendor=name)

    async def _watch_lineage(self) -> None:
        while True:
            found = None
            with contextlib.suppress(UnavailableError):
                found = await self.control.lineage()
                undone = self.continuity.follow(found) if found is not None else None
                if undone is not None:
                    self._store_broke(undone)
            # Without a replica nobody can be promoted, but one that was cut off from its primary a moment ago.
            await asyncio.sleep(LINEAGE_S if found is not None and found.replicas else 1.0)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self.settings.supervision.report_ms / 1000)
            with contextlib.suppress(UnavailableError):
                await self.control.report(self._statement())

    def _store_broke(self, found: Break | Undone) -> None:
        """What was acknowledged may be gone: nobody but an operator can tell which; callers repeat with their keys.

        Or only what was done with it: then it is done again, also what was marked as begun under `hold`.
        """
        self._given.clear()  # an older copy holds the file's templates of then
        self.metrics.count("dispatcher_store_breaks", found.kind)
        if isinstance(found, Break):
            logger().error("store_broke", kind=found.kind, known=found.known.accepted, life=found.known.life)
            lost = "what was accepted since its copy is lost"
        else:
            logger().error("store_broke", kind=found.kind, known=found.known_to, life=found.stream)
            lost = "what was settled in them may be sent again"
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._broken = [*self._broken[-4:], f"{moment}: {found}; {lost}"]

    def _statement(self) -> dict[str, Any]:
        mark = self.continuity.mark
        told = {} if mark is None else {"ledger": [mark.life, mark.accepted]}
        return {
            "process": f"intake-{self.identity.get('replica', '')}",
            "node": self.identity.get("node", ""),
            **told_cores(self._cores, time.monotonic()),
            "metrics": self.metrics.snapshot(),
            **told,
        }

    # ---- what is asked

    def ready(self) -> str | None:
        """None when a trigger posted now would be made durable; else why not."""
        if not self.templates.loaded:
            return "templates are not loaded yet"
        if time.monotonic() - self._store_ok_s > 3.0:
            return "the store does not answer"
        if self.intake.headroom.memory_ratio >= self.settings.limits.memory_ratio_max:
            return "the store is nearly full"
        return None

    def health(self) -> dict[str, Any]:
        warnings = [w for w in self.runtime.get("warnings", "").split("\n") if w] + self._broken
        if self.identity.get("ingress") != "haproxy":
            warnings.append("ingress is Serve's Python proxy: about 10 ms slower than HAProxy")
        full = self.intake.plan.full if hasattr(self, "intake") else ()  # asked before it has started
        if full:
            warnings.append(f"machine full: no free core for more actors of {', '.join(full)}")
        if self.identity.get("niceness", 0) > 0:
            warnings.append(f"replicas run at nice {self.identity['niceness']}")
        warnings += map(str, self.stalled)
        intake: Intake | None = getattr(self, "intake", None)  # asked before the start is over
        plan = Plan() if intake is None else intake.plan
        idle = sorted(name for name, count in working_vendors(plan, self._channels).items() if not count)
        warnings += [f"no vendor is left for {channel}: what is accepted for it waits" for channel in idle]
        return {
            "status": "alive",
            "version": VERSION,
            **self.identity,
            "warnings": warnings,
            "stalled": [asdict(stall) for stall in self.stalled],
            "channels_without_vendor": idle,
        }

    async def vendors(self) -> list[dict[str, Any]]:
        """Each vendor: plan, breakers, mailbox, outcomes."""
        depths = await self.control.depths()
        backlog = await self.control.backlog(depths)
        return [
            self._vendor(name, depths.get(name, MailboxDepth(name)), backlog.get(name, Backlog(name)))
            for name in self.settings.vendors
        ]

    def _vendor(self, name: str, depth: MailboxDepth, backlog: Backlog) -> dict[str, Any]:
        entry = self.intake.plan.vendors.get(name)
        now_s = time.monotonic()
        heard = [r for r in self.reports.values() if r["vendor"] == name and now_s - r["heard_s"] < REPORT_HOLDS_S]
        live = sorted(heard, key=lambda r: r["incarnation"])
        attempts = {labels[1]: n for metric, labels, n in self._totals["c"] if _is(metric, labels, name)}
        return {
            "name": name,
            "channel": self.settings.vendors[name].channel,
            "adapter": self.settings.vendors[name].adapter,
            "state": entry.state if entry else "unknown",
            "takes_new": entry.takes_new if entry else True,
            "drains": list(entry.drains) if entry else [name],
            "reason": entry.reason if entry else "",
            "override": entry.override if entry else None,
            "held": self.intake.plan.held.get(name),
            "breaker": [
                {
                    "incarnation": r["incarnation"],
                    "state": r["breaker"],
                    "window": r["window"],
                    "in_flight": r["in_flight"],
                    "concurrency": r.get("concurrency"),
                    "cut_off": r.get("cut_off") or {},
                    "replica": r["replica"],
                    "pid": r["pid"],
                }
                for r in live
            ],
            "replicas": len(live),
            "queued": depth.total,
            "lanes": dict(depth.queued),
            "claimed": depth.claimed,
            "waiting": backlog.waiting,
            "places": dict(backlog.counts),
            "oldest_age_ms": backlog.oldest_age_ms,
            **moment("next_try", backlog.due_ms),
            "attempts": attempts,
        }

    async def metrics_text(self) -> bytes:
        depths = await self.control.depths()
        backlog = await self.control.backlog(depths)
        counts = await self.control.counts()
        used, most = await self.control.memory()
        plan, names = self.intake.plan, list(self._channels)
        gauges = [
            Gauge(
                "dispatcher_mailbox_depth",
                "Entries of a mailbox lane, claimed ones included",
                ("mailbox", "lane"),
                [((name, lane), n) for name, d in depths.items() for lane, n in d.queued.items()],
            ),
            Gauge(
                "dispatcher_mailbox_oldest_age_seconds",
                "Age of the oldest notification of a mailbox, wherever it waits",
                ("mailbox",),
                [((name,), box.oldest_age_ms / 1000) for name, box in backlog.items() if name],
            ),
            Gauge(
                "dispatcher_backlog",
                "Notifications of a mailbox that are accepted and not ended, by place",
                ("mailbox", "place"),
                [((name, place), n) for name, box in backlog.items() if name for place, n in box.counts.items()],
            ),
            Gauge(
                "dispatcher_backlog_oldest_age_seconds",
                "Age of the oldest notification of a mailbox, by place",
                ("mailbox", "place"),
                [
                    ((name, place), box.ages_ms.get(place, 0) / 1000)
                    for name, box in backlog.items()
                    if name
                    for place in PLACES
                ],
            ),
            Gauge(
                "dispatcher_stalled_seconds",
                "How long the work of a healthy vendor has been ready that delivers nothing; 0: it is not stalled",
                ("vendor",),
                [((name,), max([s.seconds for s in self.stalled if s.vendor == name], default=0)) for name in names],
            ),
            Gauge(
                "dispatcher_channel_vendors",
                "Vendors of a channel that take messages",
                ("channel",),
                [((channel,), n) for channel, n in working_vendors(plan, self._channels).items()],
            ),
            Gauge(
                "dispatcher_breaker_state",
                "1 for the state a vendor is in, by the plan",
                ("vendor", "state"),
                [((name, s), float(v.state == s)) for name, v in plan.vendors.items() for s in STATES],
            ),
            Gauge(
                "dispatcher_calls",
                "Calls of a vendor in flight, and how many its actors allow themselves",
                ("vendor", "which"),
                [
                    ((name, which), sum(r.get(field) or 0 for r in self.reports.values() if r["vendor"] == name))
                    for name in plan.vendors
                    for which, field in (("in_flight", "in_flight"), ("limit", "concurrency"))
                ],
            ),
            Gauge(
                "dispatcher_countries_cut_off",
                "Countries that a vendor does not reach though it reaches others; with breaker.per: country",
                ("vendor",),
                [
                    (
                        (name,),
                        len({c for r in self.reports.values() if r["vendor"] == name for c in r.get("cut_off") or ()}),
                    )
                    for name in plan.vendors
                ],
            ),
            Gauge(
                "dispatcher_waiting",
                "Notifications out of a mailbox, by place",
                ("place",),
                [((place,), n) for place, n in counts.items()],
            ),
            Gauge(
                "dispatcher_own_network_suspected",
                "1 while more than half of the vendors fail before they are reached",
                (),
                [((), float(bool(plan.unreached)))],
            ),
            Gauge(
                "dispatcher_machine_full",
                "1 for a vendor whose pool would grow and finds no free core",
                ("vendor",),
                [((name,), float(name in plan.full)) for name in plan.vendors],
            ),
            Gauge("dispatcher_plan_epoch", "Epoch of the plan in force", (), [((), plan.epoch)]),
            Gauge("dispatcher_store_memory_bytes", "Memory Redis uses", (), [((), used)]),
            Gauge("dispatcher_store_memory_bytes_max", "Memory Redis may use; 0: no limit", (), [((), most)]),
        ]
        return render(self._totals, gauges)

    def plan(self) -> dict[str, Any]:
        return asdict(self.intake.plan)


def _delivered(report: Mapping[str, Any]) -> int:
    """Return how many yeses the process of a report has had."""
    rows = report.get("metrics", {}).get("c", [])
    return int(sum(n for metric, labels, n in rows if metric == "dispatcher_attempts" and labels[1] == "accepted"))


def _is(metric: str, labels: list[str], vendor: str) -> bool:
    return metric == "dispatcher_attempts" and labels[0] == vendor
