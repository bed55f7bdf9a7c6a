"""The operators' view of the vendors and the plan, and the operators' overrides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dispatcher.config.settings import VendorSettings
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.backlog import Backlog, MailboxDepth
from dispatcher.core.plan.unmanned import SENTENCES
from dispatcher.core.plan.values import CountryCutOff, Override, Plan, Report, VendorPlan
from dispatcher.errors import CallerError
from dispatcher.operate.fleet import Fleet
from dispatcher.ports import Clock, Control

HISTORY_MAX = 1000


@dataclass(frozen=True, slots=True)
class BreakerView:
    """The breaker and the load of one actor, from its latest report."""

    incarnation: str
    state: str
    window: Mapping[str, int]
    in_flight: int
    concurrency: int
    cut_off: Mapping[str, CountryCutOff]
    replica: str
    pid: int

    @classmethod
    def of(cls, r: Report) -> BreakerView:
        return cls(r.incarnation, r.breaker, r.window, r.in_flight, r.concurrency, r.cut_off, r.replica, r.pid)


@dataclass(frozen=True, slots=True)
class VendorView:
    """The answer of `GET /v1/vendors/{name}`: plan, breakers, mailbox and outcomes of one vendor.

    Attributes:
        undrained: why no vendor drains its mailbox; None if a vendor drains it.
        breaker: one entry for each actor of the vendor.
        queued, lanes, claimed: the number of entries in its mailbox, in each lane, and claimed by an actor.
        waiting: how many of its notifications should be sent as soon as possible.
        places: how many of its notifications wait in each place.
        oldest_age_ms: the age of the oldest of these notifications; those in the place `delayed` do not count.
        next_try_ms: when the next retry is due, in wall milliseconds; None if no notification waits for a retry.
        attempts: calls by outcome, since the metrics began.
    """

    name: str
    channel: str
    adapter: str
    state: str
    accepts_new: bool
    drains: tuple[str, ...]
    reason: str
    override: str | None
    undrained: str | None
    breaker: tuple[BreakerView, ...]
    replicas: int
    queued: int
    lanes: Mapping[str, int]
    claimed: int
    waiting: int
    places: Mapping[str, int]
    oldest_age_ms: int
    next_try_ms: int | None
    attempts: Mapping[str, int]


class Vendors:
    """Shows the configured vendors and the plan, and stores operators' overrides."""

    def __init__(
        self,
        configured: Mapping[str, VendorSettings],
        control: Control,
        fleet: Fleet,
        plan: Callable[[], Plan],
        *,
        clock: Clock,
    ) -> None:
        self._configured, self._control, self._fleet, self._plan = configured, control, fleet, plan
        self._clock = clock

    async def all(self) -> list[VendorView]:
        """Return the view of every configured vendor, in the order of the configuration. Raises UnavailableError."""
        depths = await self._control.depths()
        backlog = await self._control.backlog(depths)
        return [
            self._view(name, depths.get(name, MailboxDepth(name)), backlog.get(name, Backlog(name)))
            for name in self._configured
        ]

    async def one(self, name: str) -> VendorView:
        """Return the view of one vendor. Raises CallerError (404) and UnavailableError."""
        self._check(name)
        return next(view for view in await self.all() if view.name == name)

    async def override(self, override: Override, for_s: int | None) -> Override:
        """Store an override for `for_s` seconds. If `for_s` is None, the override holds until an operator changes it.

        Return the override together with its end (`until_ms`). If the state is `auto`, the stored override of the
        vendor is removed. Raises CallerError (404) if the vendor is not configured. Raises UnavailableError if the
        store does not answer; the override may be stored all the same.
        """
        self._check(override.vendor)
        until_ms = None if for_s is None else self._clock.wall_ms() + for_s * 1000
        kept = Override(override.vendor, override.state, override.who, override.why, until_ms)
        await self._control.set_override(override.vendor, None if override.state == "auto" else kept)
        return kept

    def plan(self) -> Plan:
        return self._plan()

    def plans(self) -> dict[str, Plan]:
        """Return the plan of each cell if there are several cells. With one cell the result is empty."""
        return {}

    async def plan_history(self, limit: int) -> list[JsonObject]:
        """Return up to `limit` plans, the newest first, each in the form in which it was stored.

        Raises UnavailableError.
        """
        return await self._control.plan_history(min(max(limit, 1), HISTORY_MAX))

    def _check(self, name: str) -> None:
        if name not in self._configured:
            raise CallerError("name", "is not a configured vendor", 404)

    def _view(self, name: str, depth: MailboxDepth, backlog: Backlog) -> VendorView:
        plan, settings = self._plan(), self._configured[name]
        # Before the first plan a vendor drains its own mailbox and gets new work.
        entry = plan.vendors.get(name, VendorPlan(name, "unknown", True, (name,)))
        live, unmanned = self._fleet.of(name), plan.unmanned.get(name, "")
        return VendorView(
            name=name,
            channel=settings.channel,
            adapter=settings.adapter,
            state=entry.state,
            accepts_new=entry.accepts_new,
            drains=entry.drains,
            reason="; ".join(filter(None, (entry.reason, SENTENCES.get(unmanned, unmanned)))),
            override=entry.override,
            undrained=plan.undrained.get(name),
            breaker=tuple(BreakerView.of(report) for report in live),
            replicas=len(live),
            queued=depth.total,
            lanes=dict(depth.queued),
            claimed=depth.claimed,
            waiting=backlog.waiting,
            places=dict(backlog.counts),
            oldest_age_ms=backlog.oldest_age_ms,
            next_try_ms=backlog.due_ms,
            attempts=self._fleet.attempts(name),
        )
