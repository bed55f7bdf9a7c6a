"""The ports of the three loops to the outside: a clock, vendors, mailboxes, a control channel.

This module does not depend on Redis, Ray or HTTP. `UnavailableError` from a store or control call means "maybe done".
Repeating the same call is safe.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from dispatcher.core.life.decide import Decision
from dispatcher.core.life.look_up import Fingerprint, Listing
from dispatcher.core.life.message import Message
from dispatcher.core.life.notification import (
    Backlog,
    Claim,
    DeadLetter,
    DeadLetterFilter,
    DeadPosition,
    Lane,
    MailboxDepth,
    NewTrigger,
    Notification,
    TriggerView,
)
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.plan.values import Beat, Override, Plan
from dispatcher.core.store.continuity import Lineage, Mark


class Clock(Protocol):
    """Local time. Every wait and threshold uses the monotonic time; the wall time is only for people to read."""

    def now_s(self) -> float: ...

    def wall_ms(self) -> int: ...

    async def sleep(self, seconds: float) -> None: ...


class Vendor(Protocol):
    """One configured account at a provider.

    `send` never raises for something that the vendor or the network did: it returns an `Outcome`. It enforces
    `timeout_s` as a total deadline itself, and limits the size of the answer that it reads. Only a cancellation leaves
    it as an exception.
    """

    name: str
    channel: str

    async def send(self, message: Message, timeout_s: float) -> Outcome: ...

    async def close(self) -> None: ...


@runtime_checkable
class LooksUp(Protocol):
    """A vendor that can be asked about a message whose outcome is unknown. Most vendors cannot.

    `look_up` returns all messages that the vendor has for the recipient since `since_ms` (wall milliseconds; earlier
    ones do no harm). `core.life.look_up` decides what they mean. None means no answer, or an unreliable one. `look_up`
    never raises for something that the vendor or the network did.
    """

    async def look_up(self, message: Message, since_ms: int, timeout_s: float) -> Listing | None: ...


@dataclass(frozen=True, slots=True)
class Claims:
    """The result of a claim: store time, claims, and entries to drop (without a record, or not the record's entry).

    The `unreadable` claims have records that this version cannot read. Of their notifications only `id`, `attempts`,
    `tried` and whether a send was started are true.
    """

    now_ms: int
    claims: list[Claim]
    orphans: list[tuple[Lane, str, str]]
    lost: int = 0
    unreadable: Sequence[Claim] = ()
    refused: Sequence[str] = ()
    """The store's messages about the lanes at which it failed. The rest is done."""


@dataclass(frozen=True, slots=True)
class DueEntry:
    """A due notification. `score` is the string it was read with, by which it is promoted at most once."""

    id: str
    score: str
    delayed: bool
    chain: tuple[str, ...]
    tried: tuple[str, ...]
    priority: str
    expires_ms: int
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Held:
    """A held notification with its start mark: the vendor and the time of the call. `twin`: see `core.life.look_up`."""

    notification: Notification
    vendor: str
    started_ms: int
    twin: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """One message of the control channel. `kind` is beat, report, plan or totals."""

    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Incarnation:
    """The store's record of a live incarnation: how often it was renewed, its process and its machine."""

    renewed: int = 0
    pid: int = 0
    node: str = ""


class Store(Protocol):
    """The durable mailboxes. The method docstrings of `adapters.redis.store` are the contract."""

    async def accept(self, triggers: Sequence[NewTrigger]) -> list[str]: ...

    async def claim(self, me: str, lanes: Sequence[Lane], want: int) -> Claims: ...

    async def wait(self, me: str, lanes: Sequence[Lane], want: int, timeout_ms: int) -> Claims: ...

    async def wake(self) -> None: ...

    async def own(self, me: str, lanes: Sequence[Lane], known: set[tuple[Lane, str]]) -> Claims: ...

    async def take(self, me: str, lanes: Sequence[Lane], at_most: int = 50) -> Claims: ...

    async def apply(self, me: str, decided: Sequence[tuple[Claim, Decision]], now_ms: int) -> list[str]: ...

    async def drop(self, me: str, orphans: Sequence[tuple[Lane, str, str]]) -> None: ...

    async def start(self, me: str, claim: Claim, print_: Fingerprint | None = None) -> bool: ...

    async def single_out(self, me: str, nid: str | None) -> bool: ...

    async def due(self, limit: int = 100) -> tuple[int, list[DueEntry]]: ...

    async def promote(self, chosen: Sequence[tuple[DueEntry, str]]) -> list[str]: ...

    async def postpone(self, entries: Sequence[DueEntry], wait_ms: int) -> None: ...

    async def overdue_held(self, limit: int = 100) -> list[str]: ...

    async def held_ids(self, begin: int, count: int) -> list[tuple[str, int]]: ...

    async def held(self, ids: Sequence[str]) -> list[Held]: ...

    async def expired(self, lane: Lane, cursor: str, page: int = 200) -> tuple[str, list[str]]: ...

    async def withdraw(self, nid: str, to: str, reason: str) -> str: ...


@dataclass(frozen=True, slots=True)
class DeadPage:
    """A page of dead letters that match. `last` is the last position that was read, None at the end."""

    letters: list[DeadLetter]
    last: DeadPosition | None


@dataclass(frozen=True, slots=True)
class Redriven:
    """One dead letter to be redriven, with its mailbox, lane and new expiry."""

    letter: DeadLetter
    mailbox: str
    priority: str
    expires_ms: int


class Views(Protocol):
    """Read access for people. The docstrings of `adapters.redis.views` are the contract."""

    async def trigger(self, trigger_id: str) -> TriggerView | None: ...


class Graveyard(Protocol):
    """The dead letters. The docstrings of `adapters.redis.views` are the contract."""

    async def dead_page(self, wanted: DeadLetterFilter, after: DeadPosition | None, examine: int) -> DeadPage: ...

    async def last_death(self) -> int: ...

    async def routing_of(self, ids: Sequence[str]) -> list[tuple[tuple[str, ...], str, int]]: ...

    async def budget(self, mailbox: str, want: int, per_s: float) -> tuple[int, int]: ...

    async def redrive(self, chosen: Sequence[Redriven]) -> int: ...

    async def discard(self, letters: Sequence[DeadLetter]) -> int: ...


class Control(Protocol):
    """Incarnations, beats, reports and the plan. The docstrings of `adapters.redis.control` are the contract."""

    async def register(self, vendor: str, pid: int = 0, node: str = "") -> str: ...

    async def renew(self, incarnation: str) -> bool: ...

    async def bury(self, verdicts: Mapping[str, int], term: int) -> list[str]: ...

    async def stopped(self, incarnation: str) -> None: ...

    async def remember(self, vendor: str, breaker: dict[str, Any]) -> None: ...

    async def recall(self, vendor: str) -> tuple[dict[str, Any], int] | None: ...

    async def live(self) -> dict[str, Incarnation]: ...

    async def ended(self) -> list[str]: ...

    async def forget(self, incarnations: Sequence[str]) -> None: ...

    async def beat(self, beat: Beat) -> None: ...

    async def report(self, report: dict[str, Any]) -> None: ...

    async def totals(self, totals: dict[str, Any]) -> None: ...

    def listen(self, kinds: Sequence[str]) -> AsyncGenerator[Heard | None, None]: ...

    async def begin_term(self) -> tuple[int, Plan]: ...

    async def publish(self, plan: Plan, term: int) -> None: ...

    async def plan(self) -> Plan | None: ...

    async def plan_history(self, limit: int = 100) -> list[dict[str, Any]]: ...

    async def overrides(self) -> dict[str, Override]: ...

    async def set_override(self, vendor: str, override: Override | None) -> None: ...

    async def counts(self) -> dict[str, int]: ...

    async def depths(self) -> dict[str, MailboxDepth]: ...

    async def backlog(self, depths: Mapping[str, MailboxDepth] | None = None) -> dict[str, Backlog]: ...


class Vitals(Protocol):
    """The store's clock, its memory, and what it tells of its own past (`core.store.continuity`)."""

    async def now_ms(self) -> int: ...

    async def memory(self) -> tuple[int, int]: ...

    async def ledger(self) -> Mark | None: ...

    async def lineage(self) -> Lineage | None: ...
