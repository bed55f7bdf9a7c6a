"""The main loop of a vendor actor: claim, let `attempt` prepare and send, and settle.

At every moment a claimed entry is pending in the store for the incarnation that claimed it. The courier has the entry
in `_known` until the store has its outcome. If something ends early (a crash, a cancellation, a lost reply), the entry
stays pending, and the `Caretaker` of a living actor finds it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass

from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.breaker.per_country import KeyedBreakers
from dispatcher.core.life.choices import PRIORITIES
from dispatcher.core.life.decide import (
    Decision,
    Settle,
    goes_alone,
)
from dispatcher.core.life.notification import Claim, Lane
from dispatcher.core.limits.lanes import BULK, claimable
from dispatcher.core.plan.values import Plan, VendorPlan
from dispatcher.deliver.attempt import Delivery, Terms
from dispatcher.deliver.late_successes import LateSuccesses
from dispatcher.deliver.outbox import Item, Outbox
from dispatcher.deliver.permits import Gate, GateLimits
from dispatcher.deliver.poison import Suspects, next_suspect
from dispatcher.deliver.store_link import StoreLink
from dispatcher.deliver.surroundings import Surroundings
from dispatcher.deliver.unreadable import UnreadableRecords
from dispatcher.errors import UnavailableError
from dispatcher.ports import Applied, Claims, Vendor
from dispatcher.store_clock import StoreTime
from dispatcher.telemetry.decision_counts import count, count_refused
from dispatcher.telemetry.log import logger
from dispatcher.waiting import rung

IDLE_BLOCK_MS = 1000
"""The time in milliseconds for which a claim waits if the courier has nothing else to do.

A new entry ends the wait at once, so no message is delayed.
"""

LOWER_LANES_EVERY = 8
"""One claim in this number reads the lanes in the reverse order. So bulk is claimed even if other lanes are busy."""


@dataclass(frozen=True, slots=True)
class CourierLimits(GateLimits):
    """The limits of one courier. The units are in the names."""

    settle_interval_s: float = 0.1
    settle_stall_s: float = 1.0
    claim_block_ms: int = 200
    claim_pace_s: float = 0.015


class Courier:
    """Drains the mailboxes that the plan gives its vendor. A courier works under one incarnation at a time."""

    def __init__(
        self,
        vendor: Vendor,
        breaker: Breaker,
        around: Surroundings,
        terms: Terms,
        *,
        limits: CourierLimits,
        on_change: Callable[[], None] = lambda: None,
        keys: KeyedBreakers | None = None,
    ) -> None:
        """Prepare a courier, which claims nothing yet. `on_change` is called when the breaker's state has changed.

        `keys` are the breakers by country, or None if the vendor has only one breaker.
        """
        self.vendor, self.metrics = vendor, around.metrics
        store, clock, chance = around.store, around.clock, around.chance
        self.breaker, self.gate = breaker, Gate(breaker, limits, clock, on_change=on_change, keys=keys)
        self.me = ""
        self.time, self.link = StoreTime(clock), StoreLink(clock)
        self._store, self._clock, self._limits, self._chance = store, clock, limits, chance
        self._known: dict[tuple[Lane, str], Claim] = {}
        self._waiting: list[tuple[str, Claim]] = []  # known and not begun, while a suspect is sent alone
        self._isolation: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._bulk: set[asyncio.Task[None]] = set()  # the calls of a bulk lane
        self._room = asyncio.Event()
        self._turn = 0
        self.done = self.settled = 0  # entries claimed or settled so far, and settled so far, for the watchdog
        self.stopping = False
        self.delivery = Delivery(
            *(vendor, self.gate, around, terms),
            time=self.time,
            stale=self.link.stale,
            in_flight=lambda: len(self._calls),
        )
        self.audit_wanted = False
        self.begun: set[tuple[Lane, str]] = set()  # begun since the last audit, which clears the set
        self.drained: dict[Lane, None] = dict.fromkeys(self.lanes())  # all lanes so far, also of earlier plans
        self._unreadable = UnreadableRecords(store, self.metrics, vendor.name)
        self._late = LateSuccesses(store, clock, chance)
        self._suspects = Suspects(store, clock, chance, works=self._works, replied=self.link.replied)
        self.outbox = Outbox(
            *(store, clock, self.time.now_ms),
            interval_s=limits.settle_interval_s,
            idle=self._idle,
            on_done=self._settled,
            on_refused=self._refused,
        )

    # ---- what others ask

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    @property
    def plan(self) -> Plan:
        return self.delivery.plan

    def known(self) -> set[tuple[Lane, str]]:
        return set(self._known)

    def rests(self) -> bool:
        """Return True if this courier has no call in flight and no outcome to settle."""
        return not self._calls and not len(self.outbox)

    def could_work(self) -> bool:
        """Return True if the breaker permits all calls and more entries may be claimed now.

        A courier that claims nothing in this situation has no work, or is stuck.
        """
        return self.breaker.state in (BreakerState.CLOSED, BreakerState.METRICS_ONLY) and self._want() > 0

    def is_unsettled(self) -> bool:
        """Return True if outcomes have waited too long to be settled although the store answers other calls."""
        return not self.link.stale() and self.outbox.oldest_age_s() > self._limits.settle_stall_s

    def _works(self, me: str) -> bool:
        return me == self.me and not self.stopping

    def renewed(self, asked_s: float) -> None:
        """Note that the store has answered that this incarnation is still live.

        `asked_s` is the monotonic time at which the store was asked.
        """
        self.link.renewed(asked_s)
        self._room.set()

    def takes_max(self) -> int:
        """Return how many claims of dead incarnations may be taken at once."""
        return 0 if self._isolation is not None else self.gate.takes_max()

    def mailboxes(self) -> tuple[str, ...]:
        entry = self._entry()
        return entry.drains if entry is not None else (self.vendor.name,)

    def _entry(self) -> VendorPlan | None:
        return self.plan.vendors.get(self.vendor.name)

    def lanes(self) -> list[Lane]:
        """Return the lanes of all drained mailboxes, the most urgent first.

        The high lane of an adopted mailbox comes before the bulk lane of this vendor's own mailbox.
        """
        return [Lane(mailbox, priority) for priority in PRIORITIES for mailbox in self.mailboxes()]

    def adopt_plan(self, plan: Plan, asked_with: Plan | None = None) -> None:
        """Use `plan` if it replaces the current plan.

        `Plan.replaces` decides that, and explains `asked_with`.
        """
        if not plan.replaces(self.plan, asked_with):
            return
        self.delivery.plan = plan
        self.drained.update(dict.fromkeys(self.lanes()))
        self.gate.follow(self._entry(), self.me)
        self._room.set()

    def begin(self, me: str) -> None:
        """Work under the incarnation `me` from now on."""
        self.me = me
        self.renewed(self._clock.now_s())
        self.gate.follow(self._entry(), self.me)

    # ---- claim

    async def run(self) -> None:
        """Claim and deliver until `stopping` is True. Raises FencedError when this incarnation is no longer live."""
        me = self.me
        while not self.stopping:
            self.gate.tick()
            want, lanes = self._want(), self._lanes_now()
            if want <= 0 or not lanes:
                await self._wait_for_room()
                continue
            lanes, want = claimable(lanes, want, self.gate.concurrency.value, len(self._bulk))
            try:
                got = await self._claim(me, lanes, want)
            except UnavailableError:
                self.audit_wanted = True  # the entries may be ours, with a lost reply
                await self._clock.sleep(0.1 + 0.2 * self._chance())
                continue
            await self.admit(me, got)
            if 0 < len(got.claims) < want:
                # There is little work: let some gather, so that one claim (an fsync) serves several entries. This does
                # not delay a single message, because the first claim after a pause does not wait.
                await self._clock.sleep(self._limits.claim_pace_s)

    def _lanes_now(self) -> list[Lane]:
        if self._clock.now_s() < self.delivery.own_only_until_s:
            return [lane for lane in self.lanes() if lane.mailbox == self.vendor.name]
        return self.lanes()

    async def _claim(self, me: str, lanes: list[Lane], want: int) -> Claims:
        self._turn += 1
        ordered = lanes[::-1] if self._turn % LOWER_LANES_EVERY == 0 else lanes
        got = await self._store.claim(me, ordered, want)
        self.link.replied()
        if not got.claims and not got.orphans:
            if all(lane.priority != BULK for lane in lanes):
                await self._wait_for_room()  # a bulk call that ends makes room, which a blocking claim would not notice
                return got
            got = await self._store.wait(me, lanes, want, self._block_ms(lanes))
            self.link.replied()
        return got

    def _block_ms(self, lanes: Collection[Lane]) -> int:
        """Return for how many milliseconds a claim may wait for an entry in these lanes.

        The wait is short if calls are in flight, or if `lanes` are not all lanes of this courier.
        """
        rests = self.rests() and set(lanes) == set(self.lanes())
        return max(IDLE_BLOCK_MS, self._limits.claim_block_ms) if rests else self._limits.claim_block_ms

    async def admit(self, me: str, got: Claims) -> None:
        """Begin the delivery of each new claim of `me`, and remove entries that belong to no notification.

        If the incarnation `me` is ending or has ended when the store's reply arrives, no delivery begins. The claims
        then stay pending, and another actor takes them. A delivery that began here could be sent twice.
        """
        self.done += len(got.claims) + len(got.orphans) + len(got.unreadable)
        if got.now_ms:
            self.time.sync(got.now_ms)
        if got.lost:
            self.metrics.count("dispatcher_data_loss_alarms", by=got.lost)
            logger().error("entries_deleted_while_pending", count=got.lost, vendor=self.vendor.name)
        if got.orphans:
            self.metrics.count("dispatcher_orphans", self.vendor.name, by=len(got.orphans))
            with contextlib.suppress(UnavailableError):
                await self._store.drop(me, got.orphans)
        if got.unreadable:
            await self._unreadable.put_aside(me, got.unreadable, self.time.now_ms())
        if self.stopping or me != self.me:
            return
        fresh = [claim for claim in got.claims if (claim.lane, claim.entry_id) not in self._known]
        for claim in fresh:
            self._known[claim.lane, claim.entry_id] = claim
            self.begun.add((claim.lane, claim.entry_id))
            settle = self._late.known(claim.notification)
            if settle is not None:  # the vendor accepted it from this actor's previous incarnation
                self.outbox.put((me, claim, settle))
            else:
                self.gate.spend(1)
                self._waiting.append((me, claim))
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        if self._isolation is not None:
            return
        if any(goes_alone(claim.notification) for _, claim in self._waiting):
            self._isolation = self._start(self._send_suspects(set(self._calls)))
            return
        for me, claim in self._waiting:
            task = self._start(self._deliver(me, claim))
            if claim.lane.priority == BULK:
                self._bulk.add(task)
        self._waiting.clear()

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._calls.add(task)
        task.add_done_callback(self._ended)
        return task

    async def _send_suspects(self, in_flight: set[asyncio.Task[None]]) -> None:
        """Send each suspect alone, with a durable mark. A suspect is a claim that may have crashed its actor.

        After the suspects, begin all claims that came meanwhile, together.
        """
        try:
            if in_flight:
                await asyncio.wait(in_flight)
            while (found := next_suspect(self._waiting)) is not None:
                me, claim = found
                if await self._suspects.single_out(me, claim.notification.id):
                    await self._deliver(me, claim)
                else:
                    self._leave(claim)
            # Clear the mark before other claims begin: one of these may cause the next crash.
            cleared = await self._suspects.single_out(self.me, None)
        finally:
            self._isolation = None
        if cleared:
            self._begin_waiting()
        else:
            self._leave_waiting()

    def _leave(self, claim: Claim) -> None:
        """Forget the claim and leave it pending in the store. The audit of this actor, or another actor, finds it
        there.
        """
        self._known.pop((claim.lane, claim.entry_id), None)
        self.audit_wanted = True

    def _leave_waiting(self) -> None:
        for _, claim in self._waiting:
            self._leave(claim)
        self._waiting.clear()

    def _want(self) -> int:
        """Return how many entries may be claimed now."""
        if (
            self.stopping
            or self._isolation is not None
            or self.link.stale()
            or self.outbox.oldest_age_s() > self._limits.settle_stall_s
        ):
            return 0
        return self.gate.free(len(self._calls), self._entry(), self.me)

    async def _wait_for_room(self) -> None:
        self._room.clear()
        await rung(self._room, self.gate.wait_s())

    async def _deliver(self, me: str, claim: Claim) -> None:
        """Carry out one claim up to its decision, and put the decision into the outbox."""
        began_s = self._clock.now_s()
        decision: Decision | None = None
        try:
            decision = await self.delivery.decide(me, claim)
        finally:
            if decision is None:
                self._leave(claim)
            else:
                self.outbox.put((me, claim, decision))
                with contextlib.suppress(Exception):  # a failing metric must not stop the suspects' turn
                    self.metrics.observe("dispatcher_dispatch_seconds", self._clock.now_s() - began_s, self.vendor.name)

    # ---- afterwards

    def _refused(self, item: Item) -> None:
        count_refused(self.metrics, self.vendor.name, item[1], item[2])

    def _settled(self, item: Item, reply: Applied) -> None:
        _, claim, decision = item
        self._known.pop((claim.lane, claim.entry_id), None)
        self.done += 1
        self.settled += 1
        self.link.replied()
        vendor = self.vendor.name
        if reply is Applied.LOST:
            self.audit_wanted = True  # maybe this actor's next incarnation took it and skipped it as known
            self.metrics.count("dispatcher_lost_settles", vendor)
            if isinstance(decision, Settle):
                self._late.tell(claim.notification, decision)
            return
        count(self.metrics, vendor, claim, decision)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._bulk.discard(task)
        self._room.set()
        self.outbox.nudge()

    def _idle(self) -> bool:
        return not self._calls

    async def finish(self, deadline_s: float) -> None:
        """Claim nothing more, wait for the calls in flight, and settle their decisions, for at most `deadline_s`
        seconds.

        A claim whose decision is not settled by then stays pending in the store. So it is not lost: another actor takes
        it.
        """
        self.stopping = True
        self._leave_waiting()
        until_s = self._clock.now_s() + deadline_s
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=deadline_s)
        while len(self.outbox) and self._clock.now_s() < until_s:
            if not await self.outbox.flush():
                await self._clock.sleep(0.05)
