"""The database in memory: mailboxes with claims, records, sorted sets, actors and messages."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dispatcher.core.cells.membership import Membership
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.notification import (
    Attempt,
    Lane,
    NewTrigger,
    Notification,
    State,
    TemplatePin,
    Trail,
    notification_id,
)
from dispatcher.core.limits.turns import DIRECT, Turn, serve
from dispatcher.core.plan.messages import Message, read_message
from dispatcher.core.plan.values import Override, Plan
from dispatcher.core.store.delay_time import DelayTime
from dispatcher.ports import Charged, Clock, Incarnation


@dataclass(slots=True)
class Note:
    """The part of a notification's record that changes while the notification is sent."""

    state: str
    vendor: str
    lane: Lane | None = None
    entry_id: str = ""
    attempts: int = 0
    generation: int = 0
    reopened: int = 0
    crashes: int = 0
    trail: Trail = field(default_factory=Trail)
    epoch: int = 0
    reason: str | None = None
    expires_ms: int | None = None  # its own since a redrive; else the trigger's
    chain: tuple[str, ...] | None = None  # as above
    template: TemplatePin | None = None  # as above
    started: tuple[int, str] | None = None  # the start mark: its time and the incarnation
    twin: bool = False
    fallback: str | None = None  # the notification that follows if it fails
    receipt: str | None = None  # what a receipt said, if a fallback waits for it
    history: list[Attempt] = field(default_factory=list)


@dataclass(slots=True)
class Record:
    """One trigger with its notifications. `open` is the number of notifications that have not ended.

    `gone_ms` is the time at which the record is forgotten, in milliseconds since the epoch. `gone_ms` is None before
    the last notification ends.
    """

    trigger: NewTrigger
    expires_ms: int
    notes: list[Note]
    open: int
    has_data: bool = True
    kept_ms: int = 0  # until when the data can be had back by a refusal by receipt
    gone_ms: int | None = None


@dataclass(slots=True)
class LaneState:
    """One lane of a mailbox: all entries in order, the unclaimed entries, the claims, and the tenants' queues.

    `unread` and `queues` are ordered sets of entry ids, so counting and removing do not search a long backlog.
    """

    entries: dict[str, str] = field(default_factory=dict)
    unread: OrderedDict[str, None] = field(default_factory=OrderedDict)
    queues: dict[str, OrderedDict[str, None]] = field(default_factory=dict)  # tenant → what waits for its turn
    turns: tuple[Turn, ...] = ()
    owner: tuple[int, str | None] | None = None  # of a backlog: the number of entries before it, its tenant
    pending: dict[str, str] = field(default_factory=dict)
    consumers: set[str] = field(default_factory=set)

    def read(self, consumer: str, count: int) -> list[str]:
        """Claim at most `count` unclaimed entries of the lane's own stream for `consumer`. Return their ids.

        Notifications that wait in the queues of tenants stay there.
        """
        self.consumers.add(consumer)
        return self._deliver(self.unread, consumer, count)

    def put(self, entry_id: str, nid: str, tenant: str) -> None:
        """Add an entry to the stream, or to a tenant's queue if tenants take turns in this lane.

        Tenants take turns if the tenant of this entry is not the tenant whose notifications fill the stream (`owner`).
        The entry is then put into the queue of `tenant`.
        """
        self.entries[entry_id] = nid
        if self.owner is None:
            if len(self.unread) >= DIRECT:
                self.owner, self.turns = (len(self.unread), tenant), (Turn(tenant),)
        elif self.owner[1] != tenant:
            if tenant not in self.queues:
                self.queues[tenant] = OrderedDict()
                self.turns = (*self.turns, Turn(tenant))
            self.queues[tenant][entry_id] = None
            return
        self.unread[entry_id] = None

    def claim(self, consumer: str, want: int, weights: Mapping[str, int]) -> list[str]:
        """Claim at most `want` entries for `consumer`. Return their ids.

        Entries in the lane's own stream are claimed first. Then come entries of the tenants' queues, in the order that
        the tenants' turns and `weights` decide.
        """
        if self.owner is None:
            return self.read(consumer, want)
        old, owner = self.owner
        count = want if owner is None else min(want, old)
        got = self.read(consumer, count)
        if owner is not None and count:
            self.owner = (old - len(got) if len(got) == count else 0), owner
        if len(got) < want:
            got += self._claim_in_turns(consumer, want - len(got), weights)
        return got

    def waiting(self) -> dict[str, int]:
        """Return, for each tenant, how many entries wait for that tenant's turn."""
        found = {tenant: len(queue) for tenant, queue in self.queues.items()}
        if self.owner is not None and self.owner[1] is not None:
            found[self.owner[1]] = max(0, len(self.unread) - self.owner[0])
        return found

    def _claim_in_turns(self, consumer: str, want: int, weights: Mapping[str, int]) -> list[str]:
        assert self.owner is not None
        self.consumers.add(consumer)
        owner, got = self.owner[1], list[str]()
        queued = {tenant: len(queue) for tenant, queue in self.queues.items()}
        if owner is not None:
            queued[owner] = len(self.unread)
        served, self.turns = serve(self.turns, queued, weights, want)
        for tenant, count in served:
            got += self._deliver(self.unread if tenant == owner else self.queues[tenant], consumer, count)
        waiting = {turn.tenant for turn in self.turns}
        self.queues = {tenant: queue for tenant, queue in self.queues.items() if tenant in waiting}
        self.owner = (self.owner[0], owner if owner in waiting else None) if waiting else None
        return got

    def _deliver(self, queue: OrderedDict[str, None], consumer: str, count: int) -> list[str]:
        got = [queue.popitem(last=False)[0] for _ in range(min(count, len(queue)))]
        self.pending.update(dict.fromkeys(got, consumer))
        return got

    def remove(self, entry_id: str) -> None:
        claimed = self.pending.pop(entry_id, None) is not None
        if self.entries.pop(entry_id, None) is not None and not claimed:
            for queue in (self.unread, *self.queues.values()):
                queue.pop(entry_id, None)


@dataclass(slots=True, eq=False)
class Listener:
    """One subscription: the kinds of messages that its reader wants, the messages that it has not read, and the future
    that wakes it.
    """

    kinds: frozenset[str]
    heard: deque[Message] = field(default_factory=deque)
    bell: asyncio.Future[bool] | None = None


class Cell:
    """The whole database and its subscriptions.

    While `full` is True, new triggers are refused and everything else works.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.full = False
        self.lanes: dict[Lane, LaneState] = {}
        self.mailboxes: set[str] = set()
        self.records: dict[str, Record] = {}
        self.due: dict[str, int] = {}
        self.delayed: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.dead: dict[str, int] = {}
        self.budgets: dict[str, float] = {}
        self.caps: dict[str, list[int]] = {}
        self.twins: dict[str, tuple[str, int]] = {}  # fingerprint → the last one, until when
        self.actors: dict[str, str] = {}
        self.processes: dict[str, Incarnation] = {}
        self.singled: dict[str, str] = {}  # incarnation → the suspect that it sends with nothing beside it
        self.incarnations = 0
        self.term = 0
        self.plan: Plan | None = None
        self.plans: list[JsonObject] = []  # every plan that was published, as it is stored
        self.breakers: dict[str, tuple[int, str]] = {}  # vendor → when, and what its breaker was
        self.overrides: dict[str, Override] = {}
        self.weights: dict[str, int] = {}
        self.paid_ms: dict[str, float] = {}  # tenant → when all that it was granted is paid for
        self.bells: dict[asyncio.Future[bool], None] = {}  # in order of arrival, else no run could be repeated
        self.listeners: list[Listener] = []
        self.charges: dict[str, tuple[str, int, Charged]] = {}  # trigger → hash of its body, until when, the answer
        self.accepted = 0  # triggers
        self.count = 1  # of the cells in force, as far as this cell knows
        self.since_ms: dict[int, int] = {}  # number of cells → when this cell saw it in force
        self.memberships: dict[str, Membership] = {}  # by cell; only the names in it count
        self._delay_time, self._ahead_ms = DelayTime(), 0
        self._sequence = 0

    def raise_to(self, count: int) -> None:
        """Count `count` cells in force from now on, if fewer were counted."""
        if count > self.count:
            self.count = count
            self.since_ms.setdefault(count, self.clock.wall_ms())

    def delay_ms(self) -> int:
        """Return the store's delay time in milliseconds. Waits end by this clock, which never goes back.

        `core.store.delay_time` explains delay time.
        """
        now_s, wall_ms = self.clock.now_s(), self.clock.wall_ms()
        least_ms = self._delay_time.correction(wall_ms + self._ahead_ms, 0, now_s, now_s)
        if least_ms is not None:
            self._ahead_ms = least_ms - wall_ms
        return wall_ms + self._ahead_ms

    def lane(self, lane: Lane) -> LaneState:
        return self.lanes.setdefault(lane, LaneState())

    def add(self, lane: Lane, nid: str, tenant: str) -> str:
        """Add an entry to a lane for `tenant`, and wake all that wait for entries. Return the entry's id."""
        self._sequence += 1
        entry_id = f"{self.clock.wall_ms()}-{self._sequence}"
        self.lane(lane).put(entry_id, nid, tenant)
        self.mailboxes.add(lane.mailbox)
        for bell in self.bells:
            if not bell.done():
                bell.set_result(True)
        return entry_id

    def enqueue(self, nid: str, mailbox: str) -> None:
        """Put a notification into a mailbox, in the lane of its trigger's priority. Its state becomes `queued`."""
        record, note = self.found(nid)
        lane = Lane(mailbox, record.trigger.priority)
        entry_id = self.add(lane, nid, record.trigger.tenant)
        note.state, note.vendor, note.lane, note.entry_id = "queued", mailbox, lane, entry_id

    def record(self, trigger_id: str) -> Record | None:
        record = self.records.get(trigger_id)
        if record is not None and record.gone_ms is not None and record.gone_ms <= self.clock.wall_ms():
            del self.records[trigger_id]
            return None
        return record

    def find(self, nid: str) -> tuple[Record, Note] | None:
        trigger_id, _, index = nid.rpartition(".")
        record = self.record(trigger_id)
        if record is None or int(index) >= len(record.notes):
            return None
        return record, record.notes[int(index)]

    def found(self, nid: str) -> tuple[Record, Note]:
        found = self.find(nid)
        assert found is not None, nid
        return found

    def finish(self, record: Record, retention_ms: int) -> None:
        """Record that one more notification of the trigger `record` has ended.

        After the trigger's last notification, the trigger's personal data is removed. The record itself is kept for
        `retention_ms`.
        """
        record.open -= 1
        if record.open <= 0:
            record.has_data = False
            record.gone_ms = self.clock.wall_ms() + retention_ms

    def notification(self, nid: str, entry_id: str) -> Notification | None:
        """Return a notification as a courier needs it.

        Return None if the notification is gone, or if `entry_id` is not its entry any more.
        """
        found = self.find(nid)
        if found is None or not found[0].has_data or found[1].entry_id != entry_id:
            return None
        (record, note), index = found, int(nid.rpartition(".")[2])
        trigger, new = record.trigger, record.trigger.notifications[index]
        return Notification(
            id=notification_id(trigger.id, index),
            tenant=trigger.tenant,
            event=trigger.event,
            channel=new.channel,
            to=new.to,
            chain=note.chain or new.chain,
            priority=trigger.priority,
            accepted_ms=trigger.accepted_ms,
            expires_ms=note.expires_ms or record.expires_ms,
            on_unknown=trigger.on_unknown,
            data=trigger.data,
            template=note.template.name if note.template else new.template,
            template_version=note.template.version if note.template else new.template_version,
            template_digest=note.template.digest if note.template else new.template_digest,
            content=new.content,
            locale=trigger.person_of(new).locale,
            attempts=note.attempts,
            generation=note.generation,
            crashes=note.crashes,
            trail=note.trail,
            moved_epoch=note.epoch,
            state=State(note.state),
            reopened=note.reopened,
        )

    def tell(self, kind: str, body: Mapping[str, Any]) -> None:
        """Give a message to all listeners that want its `kind`.

        The message is converted to JSON and back, as on Redis.
        """
        wanted = [listener for listener in self.listeners if kind in listener.kinds]
        text = json.dumps(body) if wanted else ""
        for listener in wanted:
            listener.heard.append(read_message(kind, json.loads(text)))
            if listener.bell is not None and not listener.bell.done():
                listener.bell.set_result(True)


async def rang(bell: asyncio.Future[bool], seconds: float) -> bool:
    """Wait until `bell` is set, at most `seconds`. Return True if it was set in that time."""
    await asyncio.wait({bell}, timeout=seconds)
    return bell.done()


def page(scores: dict[str, int], until_ms: int, limit: int) -> list[tuple[str, int]]:
    """Return at most `limit` names with their scores, ordered by score and then by name.

    A name whose score is above `until_ms` is left out.
    """
    rows: Iterable[tuple[int, str]] = ((score, nid) for nid, score in scores.items() if score <= until_ms)
    return [(nid, score) for score, nid in sorted(rows)[:limit]]


def sequence(entry_id: str) -> int:
    return int(entry_id.rpartition("-")[2])


LINES_MAX = 60


def shortened(history: list[Attempt], now_ms: int) -> list[Attempt]:
    """Return `history`, shortened if it has more than `LINES_MAX` lines.

    The older lines are then replaced by one line with their number. The Lua scripts limit bytes instead of lines.
    """
    if len(history) <= LINES_MAX:
        return history
    older, newer = history[: -LINES_MAX // 2], history[-LINES_MAX // 2 :]
    lines = sum(int(line.reason) if line.outcome == "left_out" else 1 for line in older)
    return [Attempt(now_ms, "", "left_out", str(lines), 0), *newer]
