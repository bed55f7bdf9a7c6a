"""The names of all keys in Redis. All keys of a cell have the same hash tag, so every script touches a single slot.

| key | value |
|---|---|
| `{nd:0}:t:<trigger>` | a trigger's record: its data and the state of each notification (hash) |
| `{nd:0}:mb:<vendor>:<lane>` | a lane of a mailbox (stream with group `g`; field `n` is a notification's id) |
| `{nd:0}:mb:<vendor>:<lane>:of:<tenant>` | entries of a lane that wait for their tenant's turn (stream) |
| `{nd:0}:mb:<vendor>:<lane>:fair` | entries that were claimed from the tenants' queues (stream with group `g`) |
| `{nd:0}:mb:<vendor>:<lane>:turns` | the tenants of a lane in the order of their turns (list) |
| `{nd:0}:mb:<vendor>:<lane>:owner` | the tenant whose backlog is in the lane's own stream and not in a queue (string) |
| `{nd:0}:mb:<vendor>:<lane>:waits` | the number of entries in the tenants' queues of a lane (string) |
| `{nd:0}:rate:<tenant>` | until when, in ms, the triggers so far use up a tenant's accept rate (string, expires) |
| `{nd:0}:weights` | tenant → weight, if it is not 1 (hash) |
| `{nd:0}:mailboxes` | the names of all mailboxes (set) |
| `{nd:0}:due`, `:delayed`, `:held`, `:dead` | notifications outside a mailbox, by time (sorted sets) |
| `{nd:0}:actors` | incarnation (`vendor/number-tail`) → live, stopped or dead (hash) |
| `{nd:0}:incarnations` | the number of the last incarnation (string) |
| `{nd:0}:processes` | incarnation → how often it has renewed itself, its pid and its node (hash) |
| `{nd:0}:singled` | incarnation → the notification that it sends alone, suspected of crashing actors (hash) |
| `{nd:0}:plan` | the term, the epoch and the plan (hash) |
| `{nd:0}:plan:history` | the last 1,000 plans (list) |
| `{nd:0}:ledger` | `life`: a random name; `n`: triggers accepted in it (core/store/continuity.py); `cells` (hash) |
| `{nd:0}:clock` | the delay time's `ahead` (its lead over the clock) and `dated` (hash; core/store/delay_time.py) |
| `{nd:0}:breakers` | vendor → time and state of its breaker at the last change (hash) |
| `{nd:0}:templates` | template's stored name → latest version (hash) |
| `{nd:0}:template:<name>` | version → content and digest (hash) |
| `{nd:0}:templates:of:<owner>` | name → bytes, end and version of an owner's templates, also of deleted ones (hash) |
| `{nd:0}:templates:file` | name → hash of the content that the configuration file gave last (hash) |
| `{nd:0}:overrides` | vendor → the operator's override (hash) |
| `{nd:0}:redrive:<vendor>` | the time in ms until which the letters so far use up a redrive rate (string, expires) |
| `{nd:0}:cap:<hash>` | the times of the last messages under a recipient cap, in ms (list, expires) |
| `{nd:0}:charge:<trigger>` | what a tenant's counting cell answered about another cell's trigger (string, expires) |
| `{nd:0}:cells` | the installation, this cell's name, and how many cells are in force since when (hash; core/cells) |
| `{nd:0}:twin:<hash>` | the last `hold` notification with the same text and recipient (string, expires) |
| `{nd:0}:kept:<trigger>` | an ended record's content, in case a receipt refuses the message (string, expires) |
| `{nd:0}:mark` | the last round of writes that waits for replicas (string; adapters/redis/replicas.py) |
| `{nd:0}:nil` | never exists; after a script has deleted it, the script may write to a full Redis |

scripts/_enqueue.lua explains the queues and turns of tenants.
"""

from __future__ import annotations

from collections.abc import Iterable

from dispatcher.core.cells.names import FIRST_CELL
from dispatcher.core.life.choices import PRIORITIES
from dispatcher.core.life.notification import Lane

FAIR = ":fair"


class Keys:
    """The names of all keys and channels of a cell."""

    def __init__(self, cell: str = FIRST_CELL) -> None:
        self.prefix = f"{{nd:{cell}}}:"
        self.record_prefix = self.prefix + "t:"
        self.mailboxes = self.prefix + "mailboxes"
        self.due = self.prefix + "due"
        self.delayed = self.prefix + "delayed"
        self.held = self.prefix + "held"
        self.dead = self.prefix + "dead"
        self.actors = self.prefix + "actors"
        self.incarnations = self.prefix + "incarnations"
        self.processes = self.prefix + "processes"
        self.singled = self.prefix + "singled"
        self.plan = self.prefix + "plan"
        self.plan_history = self.prefix + "plan:history"
        self.ledger = self.prefix + "ledger"
        self.clock = self.prefix + "clock"
        self.cells = self.prefix + "cells"
        self.breakers = self.prefix + "breakers"
        self.overrides = self.prefix + "overrides"
        self.mark = self.prefix + "mark"
        self.nil = self.prefix + "nil"
        self.weights = self.prefix + "weights"
        self.beat_channel = self.prefix + "beat"
        self.report_channel = self.prefix + "report"
        self.plan_channel = self.prefix + "plan"
        self.totals_channel = self.prefix + "totals"
        self._lanes: dict[str, Lane] = {}
        self._lane_keys: dict[Lane, str] = {}

    def record(self, trigger_id: str) -> str:
        return self.record_prefix + trigger_id

    def kept(self, trigger_id: str) -> str:
        return f"{self.prefix}kept:{trigger_id}"

    def redrive_budget(self, mailbox: str) -> str:
        return f"{self.prefix}redrive:{mailbox}"

    def template(self, stored: str) -> str:
        return f"{self.prefix}template:{stored}"

    def rate(self, tenant: str) -> str:
        return f"{self.prefix}rate:{tenant}"

    def cap(self, key: str) -> str:
        return f"{self.prefix}cap:{key}"

    def charge(self, trigger_id: str) -> str:
        return f"{self.prefix}charge:{trigger_id}"

    def twin(self, key: str) -> str:
        return f"{self.prefix}twin:{key}"

    def lane(self, lane: Lane) -> str:
        key = self._lane_keys.get(lane)
        if key is None:
            key = f"{self.prefix}mb:{lane.mailbox}:{lane.priority}{FAIR if lane.fair else ''}"
            self._lane_keys[lane] = key
            self._lanes[key] = lane
        return key

    def lane_of(self, key: str) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            mailbox, _, priority = key.removeprefix(self.prefix + "mb:").removesuffix(FAIR).rpartition(":")
            lane = Lane(mailbox, priority, key.endswith(FAIR))
            self._lanes[key] = lane
        return lane


def streams_of(lanes: Iterable[Lane]) -> list[Lane]:
    """Return all streams that may have claimed entries of `lanes`.

    Each lane has two streams, in this order: its own stream, and its fair stream. The fair stream has the entries that
    were claimed from tenants' queues.
    """
    return [stream for lane in lanes for stream in (lane, lane._replace(fair=True))]


def lanes_of(mailbox: str) -> list[Lane]:
    return [Lane(mailbox, priority) for priority in PRIORITIES]
