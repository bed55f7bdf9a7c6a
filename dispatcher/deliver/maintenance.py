"""The maintenance that each vendor actor does: take claims of dead actors, promote due notifications, end expired ones.

Each loop looks at the present state and not at events, so a missed event does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from dispatcher.core.life.choices import PRIORITIES
from dispatcher.core.life.decide import decide_mailbox
from dispatcher.core.life.notification import Lane, State
from dispatcher.deliver.courier import Courier
from dispatcher.deliver.unreadable import UNREADABLE_WAIT_MS
from dispatcher.errors import RefusedError, UnavailableError
from dispatcher.ports import Begun, Clock, DueEntry, Store
from dispatcher.telemetry.log import logger

UNKNOWN_WAIT_MS = 5_000
"""The wait in milliseconds of a due notification whose vendors this actor does not know.

The actor's configuration and plan may be old.
"""

UNKNOWN_MS_MAX = 30_000
"""The milliseconds after which unknown vendors count as removed. By then a plan that has them would have arrived."""


DUE_PAGE = 100
DUE_PAGES_MAX = 20
"""The most pages in one run. With four runs a second, an actor can decide about 8,000 fallbacks a second."""

SWEEP_PAGES_MAX = 10
"""The most pages (of 200 entries) that one sweep reads of a lane. Without expired entries it reads one page."""

SWEEP_TOGETHER = 16
"""How many withdrawals run in parallel. They share an fsync, and leave half of the connections free."""

TOLD_MAX = 1000


@dataclass(frozen=True, slots=True)
class CaretakerPeriods:
    """The period of each loop in seconds."""

    take_s: float = 1.0
    audit_s: float = 5.0
    due_s: float = 0.25
    sweep_s: float = 1.0


class Caretaker:
    """Runs the background loops of one courier, such as takes, audits and sweeps."""

    def __init__(
        self,
        courier: Courier,
        store: Store,
        clock: Clock,
        vendors: frozenset[str],
        *,
        periods: CaretakerPeriods | None = None,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self._courier, self._store, self._clock = courier, store, clock
        self._vendors, self._periods, self._chance = vendors, periods or CaretakerPeriods(), chance
        self._cursors: dict[Lane, str] = {}
        self._turn = 0
        self._auditing = asyncio.Lock()
        self._take_refused: Sequence[str] = ()  # the refusal that was logged last
        self._unknown: dict[tuple[str, ...], tuple[int, int]] = {}  # chain → first and last time that it was due
        self._told: set[str] = set()  # broken records that were logged; a held one comes up each second

    async def run(self) -> None:
        p = self._periods
        await asyncio.gather(
            self._every(p.take_s, self.take),
            self._every(min(p.audit_s, 0.5), self._audit_if_wanted),
            self._every(p.audit_s, self.audit),
            self._every(p.due_s, self.promote),
            self._every(p.sweep_s, self.sweep),
        )

    async def _every(self, period_s: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._clock.sleep(period_s * (0.9 + 0.2 * self._chance()))
            try:
                await step()
            except UnavailableError:
                continue
            except Exception as error:  # a bug in one loop must not silence the others
                logger().error("caretaker_failed", name=step.__name__, error=type(error).__name__)

    async def take(self) -> None:
        """Claim what is pending for incarnations that are no longer live, in every mailbox that this courier drains."""
        c = self._courier
        at_most = c.takes_max()
        if c.stopping or not c.me or at_most == 0:
            return
        me = c.me
        got = await self._store.take(me, c.lanes(), at_most)
        c.link.replied()
        if got.refused and got.refused != self._take_refused:
            logger().error("take_refused", vendor=c.vendor.name, lanes=list(got.refused))
        self._take_refused = got.refused
        if got.claims:
            c.metrics.count("dispatcher_takes", c.vendor.name, by=len(got.claims))
            logger().info("entries_taken", count=len(got.claims), vendor=c.vendor.name, incarnation=me)
        await c.admit(me, got)
        if got.claims:
            await self._store.wake()  # otherwise the claim loop might go on waiting in the store

    async def audit(self) -> None:
        """Find claims of this incarnation that are pending in the store but not known here, and begin them.

        This actor does not know such claims because the store's reply to the claim call got lost. Only one audit runs
        at a time. Each audit clears `begun`, the set of claims that began since the last audit, and another audit may
        still need this set.
        """
        async with self._auditing:
            await self._audit()

    async def _audit(self) -> None:
        c = self._courier
        if c.stopping or not c.me:
            return
        me = c.me
        c.begun.clear()
        c.audit_wanted = False
        try:
            # Every lane ever drained: the plan may have changed since the claim whose reply was lost.
            got = await self._store.own(me, list(c.drained), c.known())
        except UnavailableError:
            c.audit_wanted = True
            raise
        c.link.replied()
        # A claim that was begun during the question was pending then, and may be settled now, so it is not lost.
        lost = [claim for claim in got.claims if (claim.lane, claim.entry_id) not in c.begun]
        if lost:
            c.metrics.count("dispatcher_recovered_claims", c.vendor.name, by=len(lost))
        await c.admit(me, replace(got, claims=lost))

    async def _audit_if_wanted(self) -> None:
        if self._courier.audit_wanted:
            await self.audit()

    async def promote(self) -> None:
        """Put due notifications into the mailbox that the current plan chooses, and let the store decide about due
        fallbacks.

        If at least half of a page of due entries is fallbacks, the next page is read at once. In some traffic every
        message has a fallback, and most fallbacks end here without being sent. They must not delay the notifications
        behind them.
        """
        for _ in range(DUE_PAGES_MAX):
            if await self._promote_page() < DUE_PAGE // 2:
                return

    async def _begin(self, entries: Sequence[DueEntry]) -> None:
        """Ask the store which of these waiting fallbacks begin. The next run moves a fallback that begins into a
        mailbox.
        """
        c = self._courier
        for answer in await self._store.begin(entries):
            if answer is Begun.BEGUN:
                c.metrics.count("dispatcher_fallbacks", "begun")
            elif answer is Begun.SKIPPED:
                c.metrics.count("dispatcher_fallbacks", "skipped")

    async def _promote_page(self) -> int:
        """Move up to `DUE_PAGE` notifications that are due into mailboxes. End the ones that are too late, and decide
        about fallbacks.

        Return how many of the notifications were fallbacks, which begin only if the first notification did not arrive.
        """
        c = self._courier
        now_ms, found = await self._store.due(DUE_PAGE)
        c.link.replied()
        if now_ms:
            c.time.sync(now_ms)
        fallbacks = [entry for entry in found if entry.readable and entry.stands_by]
        entries = [entry for entry in found if not (entry.readable and entry.stands_by)]
        if fallbacks:
            await self._begin(fallbacks)
        chosen: list[tuple[DueEntry, str]] = []
        over: list[tuple[DueEntry, str]] = []
        early: list[DueEntry] = []
        unreadable = [entry for entry in entries if not entry.readable]
        if unreadable:
            c.metrics.count("dispatcher_unreadable", c.vendor.name, by=len(unreadable))
        for entry in (entry for entry in entries if entry.readable):
            if entry.expires_ms <= now_ms:
                over.append((entry, "expired"))
                continue
            mailbox = decide_mailbox(entry.chain, entry.tried, c.plan.usable, c.plan.recovering, known=self._known)
            if mailbox is not None:
                chosen.append((entry, mailbox))
            elif self._are_gone(entry.chain, now_ms):
                over.append((entry, "no_vendor"))
            else:
                early.append(entry)
        if chosen:
            await self._store.promote(chosen)
        if early:
            await self._store.postpone(early, UNKNOWN_WAIT_MS)
        unreadable += [entry for entry, reason in over if not await self._end(entry.id, reason)]
        if unreadable:  # otherwise they come first in each later page
            await self._store.postpone(unreadable, UNREADABLE_WAIT_MS)
        return len(fallbacks)

    async def _end(self, nid: str, reason: str, only: State | None = None) -> bool:
        """Make the notification a dead letter, unless an actor has claimed it, it has ended, or it is not in the state
        `only`.

        Return False if its record is broken. Then nothing is changed, and the caller goes on with the others.
        """
        c = self._courier
        try:
            await self._store.withdraw(nid, "dead", reason, only=only)
        except RefusedError:
            c.metrics.count("dispatcher_unreadable", c.vendor.name)
            if len(self._told) >= TOLD_MAX:
                self._told.clear()
            if nid not in self._told:
                self._told.add(nid)
                logger().error("records_unreadable", count=1, vendor=c.vendor.name, notification=nid)
            return False
        return True

    def _are_gone(self, chain: tuple[str, ...], now_ms: int) -> bool:
        """Return True if for at least `UNKNOWN_MS_MAX` nothing has known any vendor of `chain`.

        The time begins when the first due notification with this chain finds no vendor. It begins again if no such
        notification is seen for twice that time. Before the first plan the answer is False, because no plan has named
        the vendors yet.
        """
        if not self._courier.plan.vendors:
            return False  # no plan has named the vendors yet
        since_ms, last_ms = self._unknown.get(chain, (now_ms, now_ms))
        if now_ms - last_ms > 2 * UNKNOWN_MS_MAX:
            since_ms = now_ms
        self._unknown[chain] = since_ms, now_ms
        return now_ms - since_ms >= UNKNOWN_MS_MAX

    def _known(self, vendor: str) -> bool:
        """Return True if the vendor is in the configuration or in the plan.

        While the configuration changes, either the configuration or the plan may be the newer one.
        """
        return vendor in self._vendors or vendor in self._courier.plan.vendors

    async def sweep(self) -> None:
        """End held notifications past their deadline, and expired notifications in mailboxes without a drainer."""
        for nid in await self._store.overdue_held():
            await self._end(nid, "unknown", State.HELD)
        for mailbox in self._undrained():
            for priority in PRIORITIES:
                await self._sweep_lane(Lane(mailbox, priority))

    def _undrained(self) -> list[str]:
        """Return the mailboxes without a drainer that this actor sweeps now, at most two.

        The first is the mailbox of this actor's own vendor. The second is the mailbox of another vendor, which may have
        no actor left to sweep it. Each call chooses the next such vendor. Without a plan, only the mailbox of this
        actor's vendor is returned.
        """
        own, plan = self._courier.vendor.name, self._courier.plan
        if not plan.vendors:
            return [own]
        others = sorted(name for name in plan.undrained if name != own)
        self._turn += 1
        chosen = [others[self._turn % len(others)]] if others else []
        return [own, *chosen] if own in plan.undrained else chosen

    async def _sweep_lane(self, lane: Lane) -> None:
        """End the expired notifications on the next page of a lane.

        If this page had any, continue with the page after it, up to `SWEEP_PAGES_MAX` pages in all.
        """
        for _ in range(SWEEP_PAGES_MAX):
            cursor, expired = await self._store.expired(lane, self._cursors.get(lane, ""))
            self._cursors[lane] = cursor
            for start in range(0, len(expired), SWEEP_TOGETHER):
                together = expired[start : start + SWEEP_TOGETHER]
                await asyncio.gather(*(self._end(nid, "expired") for nid in together))
            if not cursor or not expired:
                return
