"""What the three loops need from the world: a clock, vendors, mailboxes, a control channel.

Nothing here knows Redis, Ray or HTTP. `UnavailableError` from a store or control call means "maybe done"; repeating
the same call is safe.
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
)
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.plan.values import Beat, Override, Plan


class Clock(Protocol):
    """Local time: monotonic for every wait and threshold, wall only to show people."""

    def now_s(self) -> float: ...

    def wall_ms(self) -> int: ...

    async def sleep(self, seconds: float) -> None: ...


class Vendor(Protocol):
    """One configured account at a provider.

    `send` never raises for something the vendor or the network did: it answers with an `Outcome`. It enforces
    `timeout_s` as a total deadline itself and caps the answer it reads. Only cancellation leaves it as an exception.
    """

    name: str
    channel: str

    async def send(self, message: Message, timeout_s: float) -> Outcome: ...

    async def close(self) -> None: ...


@runtime_checkable
class LooksUp(Protocol):
    """A vendor that can be asked what it has of a message whose outcome is unknown. Most cannot.

    `look_up` tells all that the vendor has for the message's recipient since `since_ms` (wall milliseconds; earlier
    ones do no harm); what it means is decided by `core.life.look_up`. None: no answer, or none to rely on. It never
    raises for something the vendor or the network did.
    """

    async def look_up(self, message: Message, since_ms: int, timeout_s: float) -> Listing | None: ...


@dataclass(frozen=True, slots=True)
class Claims:
    """What a claim gave: store time, claims, and entries to drop (no record, or not the record's entry).

    `unreadable`: claimed as well, but their records say nothing to this version; of their notifications only `id`,
    `attempts`, `tried` and whether a send was started are true.
    """

    now_ms: int
    claims: list[Claim]
    orphans: list[tuple[Lane, str, str]]
    lost: int = 0
    unreadable: Sequence[Claim] = ()
    refused: Sequence[str] = ()
    """What the store said where it could not do it; the rest is done."""


@dataclass(frozen=True, slots=True)
class DueEntry:
    """Something whose time has come. `score` is the string it was read with: the key to promoting it once."""

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
    """A held notification, and its start mark: who was about to send it, and when. `twin`: see `core.life.look_up`."""

    notification: Notification
    vendor: str
    started_ms: int
    twin: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """One message of the control channel. `kind`: beat, report, plan or totals."""

    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Incarnation:
    """What the store knows of a live incarnation: how often it was renewed, its process and that one's machine."""

    renewed: int = 0
    pid: int = 0
    node: str = ""


class Store(Protocol):
    """The durable mailboxes; the method docstrings of `adapters.redis.store` are the contract."""

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
    """A stretch of dead letters: those that match, and the last position looked at; None: nothing comes after it."""

    letters: list[DeadLetter]
    last: DeadPosition | None


@dataclass(frozen=True, slots=True)
class Redriven:
    """One dead letter on its way back: its mailbox, lane and new time to die."""

    letter: DeadLetter
    mailbox: str
    priority: str
    expires_ms: int


class Graveyard(Protocol):
    """The dead letters; the docstrings of `adapters.redis.views` are the contract."""

    async def dead_page(self, wanted: DeadLetterFilter, after: DeadPosition | None, examine: int) -> DeadPage: ...

    async def last_death(self) -> int: ...

    async def routing_of(self, ids: Sequence[str]) -> list[tuple[tuple[str, ...], str, int]]: ...

    async def budget(self, mailbox: str, want: int, per_s: float) -> tuple[int, int]: ...

    async def redrive(self, chosen: Sequence[Redriven]) -> int: ...

    async def discard(self, letters: Sequence[DeadLetter]) -> int: ...


class Control(Protocol):
    """Incarnations, beats, reports, the plan; the docstrings of `adapters.redis.control` are the contract."""

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

    async def overrides(self) -> dict[str, Override]: ...

    async def depths(self) -> dict[str, MailboxDepth]: ...

    async def backlog(self, depths: Mapping[str, MailboxDepth] | None = None) -> dict[str, Backlog]: ...
