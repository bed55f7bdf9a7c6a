"""The answers of the ports. Each is an enum or a frozen value; no text of a backend leaves its adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from dispatcher.core.life.listing import Placed, PlacePosition
from dispatcher.core.life.notification import Claim, DeadLetter, DeadPosition, Lane, Notification, TemplatePin
from dispatcher.core.limits.accept_rate import Quota


class AcceptResult(Enum):
    """The store's answer to one new trigger. Nothing is stored unless it is STORED."""

    STORED = auto()  # all of its notifications are on disk
    REPLAYED = auto()  # a trigger with this id and body is stored already
    CONFLICT = auto()  # a trigger with this id and another body is stored
    LIMITED = auto()  # its tenant sends faster than its accept rate
    OUTDATED = auto()  # the store does not have a template's version with the text that the trigger names
    FULL = auto()  # the store has no memory left
    ERROR = auto()  # the store failed at this trigger


class AcceptReply(NamedTuple):
    """The answer to one trigger, and the indices of its notifications that a recipient cap made `suppressed`.

    `quota` is what its tenant may still send, where the tenant has an accept rate and the store looked at it.
    """

    result: AcceptResult
    suppressed: tuple[int, ...] = ()
    quota: Quota | None = None


STORED = AcceptReply(AcceptResult.STORED)
"""Stored, and nothing of it is suppressed."""


class Applied(Enum):
    """The store's answer to one decision about a claim."""

    DONE = auto()
    LOST = auto()  # the entry is not pending for this incarnation: it was done before, or was taken over
    ERROR = auto()  # not done, and the store is to blame: try again
    REFUSED = auto()  # not done, because the record or a key is broken: the same again would be refused too


class Promoted(Enum):
    """The store's answer about one due notification."""

    DONE = auto()
    GONE = auto()  # another actor promoted it, or it was withdrawn
    ERROR = auto()  # not done


class Begun(Enum):
    """The store's answer about one fallback (`core.life.fallback`)."""

    BEGUN = auto()  # it is delayed until now, and is promoted like any other
    SKIPPED = auto()  # it has ended
    WAITS = auto()  # it is looked at again
    GONE = auto()  # another actor decided about it, or it was withdrawn
    ERROR = auto()  # not done


class WithdrawResult(Enum):
    """The store's answer to a withdrawal."""

    DONE = auto()
    CLAIMED = auto()  # too late: an actor has it
    ENDED = auto()  # it waits nowhere


class Withdrawal(NamedTuple):
    """The answer to a withdrawal. `state` is the state of a notification that has ENDED, or `absent`."""

    result: WithdrawResult
    state: str = ""


class Orphan(NamedTuple):
    """An entry without a record, or one that is not its record's entry. It can only be dropped."""

    lane: Lane
    entry_id: str
    id: str


@dataclass(frozen=True, slots=True)
class Claims:
    """The result of a claim: the store's time, the claims, and the entries to drop.

    Attributes:
        now_ms: wall milliseconds of the store; 0 if it did not tell.
        lost: entries that were deleted while they were pending. It must be 0.
        unreadable: claims with records that this version cannot read. Of their notifications only `id`, `attempts`,
            `tried` and whether a send was started are true.
        refused: the store's messages about the lanes at which it failed. The rest is done.
    """

    now_ms: int
    claims: list[Claim]
    orphans: list[Orphan]
    lost: int = 0
    unreadable: Sequence[Claim] = ()
    refused: Sequence[str] = ()


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
    tenant: str = ""
    stands_by: bool = False  # a fallback: `begin` decides about it


class Due(NamedTuple):
    """The store's time, in wall milliseconds, and the entries that are due at it."""

    now_ms: int
    entries: list[DueEntry]


class HeldUntil(NamedTuple):
    """A held notification and its deadline, by the store's delay time in milliseconds."""

    id: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Held:
    """A held notification with its start mark: the vendor and the time of the call. `twin`: see `core.life.look_up`."""

    notification: Notification
    vendor: str
    started_ms: int
    twin: bool


class ExpiredPage(NamedTuple):
    """A page of a lane: the cursor of the next page ('' at the end), and the ids of notifications past their time."""

    cursor: str
    ids: list[str]


@dataclass(frozen=True, slots=True)
class DeadPage:
    """A page of dead letters that match. `last` is the last position that was read, None at the end."""

    letters: list[DeadLetter]
    last: DeadPosition | None


class PlacePage(NamedTuple):
    """A page of a place: rows with their positions. `last` is the last position that was read, None at the end."""

    rows: Sequence[tuple[Placed, PlacePosition]]
    last: PlacePosition | None


class Routing(NamedTuple):
    """The chain, the priority and the time to live of a dead notification, for its redrive."""

    chain: tuple[str, ...]
    priority: str
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Redriven:
    """One dead letter to be redriven, with its mailbox, lane and new expiry.

    `chain` and `template` replace what it has, for this and all later generations. None
    keeps it.
    """

    letter: DeadLetter
    mailbox: str
    priority: str
    expires_ms: int
    chain: tuple[str, ...] | None = None
    template: TemplatePin | None = None


class Grant(NamedTuple):
    """The number of redrives that may go now, and the wait in milliseconds until more may; 0 when all may."""

    granted: int
    wait_ms: int


class Memory(NamedTuple):
    """Bytes that the store uses, and the most that it may use; 0 means no limit."""

    used: int
    most: int
