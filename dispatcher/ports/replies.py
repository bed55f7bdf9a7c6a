"""The values that the ports return.

Each is an enum or immutable, and none contains a text in a backend's own format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from dispatcher.core.life.dead_letter import DeadLetter, DeadPosition
from dispatcher.core.life.listing import Placed, PlacePosition
from dispatcher.core.life.notification import Claim, Lane, Notification, TemplatePin
from dispatcher.core.limits.accept_rate import Quota


class AcceptResult(Enum):
    """The store's answer to one new trigger. Only STORED means that this call has stored something."""

    STORED = auto()  # all of its notifications are on disk
    REPLAYED = auto()  # a trigger with this id and body is stored already
    CONFLICT = auto()  # a trigger with this id and another body is stored
    LIMITED = auto()  # its tenant sends faster than its accept rate
    OUTDATED = auto()  # the store does not have a template's version with the text that the trigger names
    MOVED = auto()  # more cells are in force than those by which the trigger's cell was chosen: choose it again
    FULL = auto()  # the store has no memory left
    ERROR = auto()  # the store failed at this trigger


class AcceptReply(NamedTuple):
    """The store's answer to one trigger.

    `suppressed` holds the indices of the notifications that a recipient cap stopped. `quota` is how many triggers the
    tenant may still post. `quota` is None if the tenant has no accept rate, or if the store did not look at the rate.
    `cells` is the number of cells in force if the result is MOVED, and otherwise 0.
    """

    result: AcceptResult
    suppressed: tuple[int, ...] = ()
    quota: Quota | None = None
    cells: int = 0


STORED = AcceptReply(AcceptResult.STORED)
"""The answer for a trigger that is stored whole, with no notification suppressed."""


class ChargeResult(Enum):
    """The counting cell's answer to one charge. Only CHARGED means that something was counted."""

    CHARGED = auto()  # counted now, or by an earlier charge for the same trigger
    LIMITED = auto()  # its tenant sends faster than its accept rate
    FULL = auto()  # the store has no memory left
    ERROR = auto()  # the store failed at this charge


class Charged(NamedTuple):
    """The answer to one charge. `suppressed` and `quota` are explained in `AcceptReply`."""

    result: ChargeResult
    suppressed: tuple[int, ...] = ()
    quota: Quota | None = None


class Known(NamedTuple):
    """Which triggers a cell has.

    `body_hashes` has the hash of each trigger's body in the order of the question: None if the trigger is absent, and
    '' if its record is broken. `cells` is the number of cells in force that the cell knows. It is at least the number
    in the question.
    """

    cells: int
    body_hashes: tuple[str | None, ...]


class Applied(Enum):
    """The store's answer to one decision about a claimed notification."""

    DONE = auto()
    LOST = auto()  # the entry is not pending for this incarnation: it was done before, or was taken over
    ERROR = auto()  # not done, and the store is to blame: try again
    REFUSED = auto()  # not done, because the record or a key is broken: the same again would be refused too


class Promoted(Enum):
    """The store's answer to the promotion of one due notification into a mailbox."""

    DONE = auto()
    GONE = auto()  # another actor promoted it, or it was withdrawn
    ERROR = auto()  # not done


class Begun(Enum):
    """The store's answer to the question whether one fallback begins (`core.life.fallback`)."""

    BEGUN = auto()  # it may be sent now: it is in the state `delayed`, and its time has come
    SKIPPED = auto()  # the fallback has ended without being sent
    WAITS = auto()  # not decided yet: the store asks again later
    GONE = auto()  # another actor decided about it, or it was withdrawn
    ERROR = auto()  # not done


class WithdrawResult(Enum):
    """The store's answer to the withdrawal of one notification."""

    DONE = auto()
    CLAIMED = auto()  # too late: an actor has it
    ENDED = auto()  # nothing to withdraw: it has ended, or is not stored


class Withdrawal(NamedTuple):
    """The answer to a withdrawal.

    If the result is ENDED, `state` is the notification's state, or `absent` if none is stored.
    """

    result: WithdrawResult
    state: str = ""


class Orphan(NamedTuple):
    """A mailbox entry that belongs to no notification. It can only be removed.

    Either no record exists for the entry, or the record names another entry.
    """

    lane: Lane
    entry_id: str
    id: str


@dataclass(frozen=True, slots=True)
class Claims:
    """The answer to a claim: the store's time, the claimed notifications, and the entries to remove.

    Attributes:
        now_ms: the store's wall time in milliseconds; 0 if the store did not tell it.
        claims: the notifications that the caller's incarnation now owns.
        orphans: claimed entries that belong to no notification. The caller drops them.
        lost: the number of entries that were deleted while they were pending. It should always be 0.
        unreadable: claims whose records this version cannot read. Trust only `id`, `attempts`, `tried` and the mark
            that a send was started.
        refused: the error texts of the store, one for each lane that could not be read. The other lanes were read.
    """

    now_ms: int
    claims: list[Claim]
    orphans: list[Orphan]
    lost: int = 0
    unreadable: Sequence[Claim] = ()
    refused: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DueEntry:
    """An entry of `due` or of the delayed notifications whose time has come.

    `score` is this time, in exactly the text that the store returned. The store promotes the notification (moves it
    into a mailbox) only if it still has this text. So the notification is promoted at most once.
    """

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
    """The notifications in `due` whose time has come, and the store's wall time in milliseconds at which it looked."""

    now_ms: int
    entries: list[DueEntry]


class HeldUntil(NamedTuple):
    """A held notification and its deadline, in milliseconds of the store's delay time (`core.store.delay_time`)."""

    id: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Held:
    """A held notification with its start mark: the vendor that was called, and when, in wall milliseconds.

    `twin` is True if there is another notification that is so similar that a look-up could mistake its message for this
    one's (`core.life.look_up`).
    """

    notification: Notification
    vendor: str
    started_ms: int
    twin: bool


class ExpiredPage(NamedTuple):
    """One page of a lane: the ids of notifications whose time to live is over, and the cursor of the next page.

    The cursor is '' if this is the last page.
    """

    cursor: str
    ids: list[str]


@dataclass(frozen=True, slots=True)
class DeadPage:
    """One page of the dead letters that match a filter. `last` is the position up to which the list was read, or None
    at its end.
    """

    letters: list[DeadLetter]
    last: DeadPosition | None


class PlacePage(NamedTuple):
    """One page of a place: its rows, each with its position.

    `last` is the position that was read last, or None at the end of the place.
    """

    rows: Sequence[tuple[Placed, PlacePosition]]
    last: PlacePosition | None


class Routing(NamedTuple):
    """The chain, the priority and the time to live of a dead notification, for its redrive."""

    chain: tuple[str, ...]
    priority: str
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Redriven:
    """One dead letter that is to be redriven: its new mailbox, priority and expiry in wall milliseconds.

    `chain` and `template` replace the chain and the template of the letter, in this generation and all later ones. With
    None, the letter keeps its own.
    """

    letter: DeadLetter
    mailbox: str
    priority: str
    expires_ms: int
    chain: tuple[str, ...] | None = None
    template: TemplatePin | None = None


class Grant(NamedTuple):
    """How many redrives may start now, and in how many milliseconds more may start.

    The wait is 0 if all were granted.
    """

    granted: int
    wait_ms: int


class Memory(NamedTuple):
    """How many bytes the store uses, and how many it may use. `most` is 0 if there is no limit."""

    used: int
    most: int
