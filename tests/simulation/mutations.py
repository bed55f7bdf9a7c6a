"""Faults that are put into the product on purpose, one at a time. The simulation must find each of them."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from dispatcher.accept.accepted import accepted
from dispatcher.accept.intake import Intake
from dispatcher.adapters.memory import store as memory_store
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.life.decide import Decision, decide_after
from dispatcher.core.life.notification import Claim, Lane
from dispatcher.deliver import attempt as delivery
from dispatcher.deliver.courier import Courier
from dispatcher.deliver.maintenance import Caretaker
from dispatcher.errors import UnavailableError
from dispatcher.ports import AcceptReply, AcceptResult, Applied, Claims, DueEntry, Promoted
from dispatcher.supervise.supervisor import Supervisor
from tests.simulation.network import Network

Mutation = Callable[[], AbstractContextManager[Any]]
MUTATIONS: dict[str, Mutation] = {}


def mutation(target: Any, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as a mutation. While it is active, it replaces the method `name` of `target`."""

    def keep(instead: Callable[..., Any]) -> Callable[..., Any]:
        MUTATIONS[instead.__name__] = lambda: mock.patch.object(target, name, instead)
        return instead

    return keep


_decide, _take, _call, _commit = MemoryStore._decide, MemoryStore.take, Network.call, Intake._commit
_start = MemoryStore.start
_adopt_plan, _admit, _publish = Courier.adopt_plan, Courier.admit, Supervisor._publish


@mutation(MemoryStore, "_mine")
def settle_fenced_by_the_entry_alone(self: MemoryStore, me: str, lane: Lane, entry_id: str) -> bool:
    """With this mutation any incarnation can settle an entry that another one has claimed, as Redis's XACK allows."""
    return entry_id in self._cell.lane(lane).pending


@mutation(Caretaker, "audit")
async def no_self_audit(self: Caretaker) -> None:
    """Switch off the audit in which an actor looks for claims of its own that it does not know."""


@mutation(Courier, "adopt_plan")
def audit_of_todays_lanes_alone(self: Courier, plan: Any, asked_with: Any = None) -> None:
    """After a claim's reply was lost, search for the claim only in the lanes of the current plan."""
    _adopt_plan(self, plan, asked_with)
    self.drained = dict.fromkeys(self.lanes())


@mutation(MemoryStore, "take")
async def swept_once(self: MemoryStore, me: str, lanes: Sequence[Lane], at_most: int = 50) -> Claims:
    """Take a dead incarnation's entries only once. Entries that reach the dead incarnation after that are never
    taken.
    """
    cell: Any = self._cell
    swept = cell.__dict__.setdefault("swept", set())
    hidden = {lane: {name for name in cell.lane(lane).consumers if (lane, name) in swept} for lane in lanes}
    for lane in lanes:
        cell.lane(lane).consumers -= hidden[lane]
        swept |= {(lane, name) for name in cell.lane(lane).consumers if cell.actors.get(name) != "live"}
    got = await _take(self, me, lanes, at_most)
    for lane in lanes:
        cell.lane(lane).consumers |= hidden[lane]
    return got


@mutation(MemoryStore, "start")
async def no_start_mark(self: MemoryStore, me: str, claim: Claim, print_: Any = None) -> bool:
    """With this mutation a message is sent under `hold` although its record has no mark that says so."""
    return self._cell.actors.get(me) == "live" and self._mine(me, claim.lane, claim.entry_id)


@mutation(MemoryStore, "start")
async def twins_that_are_strangers(self: MemoryStore, me: str, claim: Claim, print_: Any = None) -> bool:
    """Start a send without the message's fingerprint, so that equal messages are not marked as twins.

    A look-up that finds one of two equal messages may then be counted for the other one.
    """
    return await _start(self, me, claim)


@mutation(MemoryStore, "start")
async def start_without_a_fence(self: MemoryStore, me: str, claim: Claim, print_: Any = None) -> bool:
    """Let an actor that was frozen send an entry that another actor has taken."""
    note = self._cell.found(claim.notification.id)[1]
    note.state = "started" if note.state == "queued" else note.state
    return True


@mutation(MemoryStore, "_decide")
def removed_before_it_is_placed(self: Any, me: str, claim: Claim, decision: Decision, now_ms: int) -> Applied:
    """Remove an entry from its mailbox first, and put the notification into its next place afterwards.

    An error between the two steps loses the notification.
    """
    if not self._mine(me, claim.lane, claim.entry_id):
        return Applied.LOST
    self._cell.lane(claim.lane).remove(claim.entry_id)
    with mock.patch.object(self, "_mine", lambda *_: True):
        return _decide(self, me, claim, decision, now_ms)


@mutation(Network, "call")
async def client_that_repeats_by_itself(self: Network, *args: Any) -> Any:
    """With this mutation a request to the store is repeated when no answer came, as redis-py does by default."""
    for _ in range(10):
        try:
            return await _call(self, *args)
        except UnavailableError:
            continue
    raise UnavailableError("away")


@mutation(Intake, "_commit")
async def accepted_before_it_is_stored(self: Intake, trigger: Any) -> Any:
    """Answer 202 although the store did not answer."""
    try:
        return await _commit(self, trigger)
    except UnavailableError:
        return accepted(trigger, AcceptReply(AcceptResult.STORED))


@mutation(__import__("dispatcher.accept.intake", fromlist=["intake"]), "trigger_id")
def key_that_means_nothing(tenant: str, key: str | None, cell: str) -> str:
    """Make an id that does not depend on the idempotency key."""
    return f"{cell}-{secrets.token_hex(8)}"


@mutation(memory_store, "let_through")
def cap_of_a_clocks_window(cell: Any, caps: Any) -> bool:
    """Count a cap in fixed windows of the clock instead of from the times of the sent notifications."""
    (cap,) = caps
    window = cell.clock.wall_ms() // cap.per_ms
    counts = cell.caps
    counts[cap.key] = [then for then in counts.get(cap.key, []) if then == window]
    counts[cap.key].append(window)
    return len(counts[cap.key]) <= cap.most


@mutation(MemoryStore, "claim")
async def claim_by_the_dead(self: MemoryStore, me: str, lanes: Sequence[Lane], want: int) -> Claims:
    """With this mutation an incarnation can claim entries after it was declared dead."""
    rows = [(lane, entry_id) for lane in lanes for entry_id in self._cell.lane(lane).read(me, want)]
    return self._claims(rows)


@mutation(MemoryStore, "_promote")
def promoted_twice(self: MemoryStore, entry: DueEntry, mailbox: str) -> Promoted:
    """Move a due entry to a mailbox even if another process has moved it since."""
    (self._cell.delayed if entry.delayed else self._cell.due).pop(entry.id, None)
    self._cell.enqueue(entry.id, mailbox)
    return Promoted.DONE


@mutation(delivery, "decide_after")
def hold_that_resends(notification: Any, *args: Any) -> Decision:
    """Send a message with an unknown outcome to the next vendor, even under `hold`."""
    return decide_after(dataclasses.replace(notification, on_unknown="resend"), *args)


@mutation(Courier, "admit")
async def begun_amid_the_goodbye(self: Courier, me: str, got: Claims) -> None:
    """Deliver what a claim has brought, even if the actor began to stop before the store's reply came."""
    stopping, self.stopping = self.stopping, False
    try:
        await _admit(self, me, got)
    finally:
        self.stopping = stopping


@mutation(Supervisor, "_publish")
async def plan_said_once(self: Supervisor) -> None:
    """With this mutation the supervisor publishes a plan only once, even if no answer came."""
    try:
        await _publish(self)
    finally:
        self._doubtful = 0
