"""The key layout: one place, one hash tag per cell, so that every script touches a single slot.

| key | holds |
|---|---|
| `{nd:0}:t:<trigger>` | a trigger's record (hash): meta, data, state of each notification, idempotency by its very id |
| `{nd:0}:mb:<vendor>:<lane>` | one lane of a mailbox (stream, group `g`, entries `n` = notification id) |
| `{nd:0}:mb:<vendor>:<lane>:of:<tenant>` | what waits in a lane for its tenant's turn (stream without a group) |
| `{nd:0}:mb:<vendor>:<lane>:fair` | what was claimed from these (stream, group `g`, entries as in the lane) |
| `{nd:0}:mb:<vendor>:<lane>:turns`, `:owner`, `:waits` | whose turn it is (list); whose the lane's own stream is; how \
many wait in queues (strings): scripts/_enqueue.lua |
| `{nd:0}:rate:<tenant>` | when a tenant's accepted triggers are paid for, ms (string, expires) |
| `{nd:0}:weights` | tenant → weight, where it is not 1 (hash) |
| `{nd:0}:mailboxes` | every mailbox that exists (set) |
| `{nd:0}:due`, `:delayed`, `:held`, `:dead` | notifications out of a mailbox, by time (sorted sets) |
| `{nd:0}:actors`, `:incarnations` | incarnation, `vendor/number-tail` → live, stopped or dead (hash); the last number |
| `{nd:0}:processes` | incarnation → how often it renewed itself, its pid and node (hash) |
| `{nd:0}:singled` | incarnation → the suspect that it sends with nothing beside it (hash) |
| `{nd:0}:plan`, `:plan:history` | term, epoch and plan (hash); the last 1,000 plans (list) |
| `{nd:0}:ledger` | `life`, random, and `n`, how many triggers were accepted in it (hash), core/store/continuity.py |
| `{nd:0}:clock` | delay time: how far `ahead` of TIME, when it last `dated` a wait (hash), core/store/delay_time.py |
| `{nd:0}:breakers` | vendor → when, and what its breaker was at its last change (hash) |
| `{nd:0}:templates`, `:template:<name>` | name → latest version; version → content, its digest (hashes) |
| `{nd:0}:templates:of:<owner>` | name → bytes, end and version of an owner's templates, deleted ones too (hash) |
| `{nd:0}:templates:file` | name → hash of the content that the configuration file gave last (hash) |
| `{nd:0}:overrides` | vendor → operator's override (hash) |
| `{nd:0}:redrive:<vendor>` | when the redrive budget of a mailbox is used up, ms (string, gone after 2 s) |
| `{nd:0}:cap:<hash>` | when the last messages of a kind to one recipient were let through, ms (list, expires) |
| `{nd:0}:twin:<hash>` | the last `hold` notification with this text and recipient (string, gone after a call's time) |
| `{nd:0}:mark` | the last round of a process that waits for replicas (string) |
| `{nd:0}:nil` | never exists: deleting it opens a full Redis for the rest of a script |
"""

from __future__ import annotations

from collections.abc import Iterable

from dispatcher.core.life.choices import PRIORITIES
from dispatcher.core.life.notification import Lane

CELL = "0"
FAIR = ":fair"


class Keys:
    """The names of all keys and channels of a cell."""

    def __init__(self, cell: str = CELL) -> None:
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

    def redrive_budget(self, mailbox: str) -> str:
        return f"{self.prefix}redrive:{mailbox}"

    def template(self, stored: str) -> str:
        return f"{self.prefix}template:{stored}"

    def rate(self, tenant: str) -> str:
        return f"{self.prefix}rate:{tenant}"

    def cap(self, key: str) -> str:
        return f"{self.prefix}cap:{key}"

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
    """Return all streams that may hold claims of these lanes: each lane's own stream, then its fair stream."""
    return [stream for lane in lanes for stream in (lane, lane._replace(fair=True))]


def lanes_of(mailbox: str) -> list[Lane]:
    return [Lane(mailbox, priority) for priority in PRIORITIES]
