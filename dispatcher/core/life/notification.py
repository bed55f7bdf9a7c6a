"""The values of a notification's life: triggers, notifications, claims and attempts.

This module decides nothing. The store's scripts decide where a notification is (its `State`), and `core.life.decide`
where it goes next.

A trigger's id is `<cell>-<26 letters>`, and a notification's id is `<trigger id>.<index>`. So the key of a
notification's record and its cell follow from its id alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NamedTuple

from dispatcher.core.accepting.caps import Cap
from dispatcher.core.life.sms_text import SmsSize
from dispatcher.core.limits.accept_rate import AcceptRate


class State(str, Enum):
    """The state of a notification. The last four states are final, with one exception.

    A refusal by receipt may reopen a `settled` notification (`late_refusal`). Its `skipped` fallback is then in
    `standby` again. A redrive or a discard ends the state `dead`.
    """

    QUEUED = "queued"  # in a mailbox, claimed or not
    STARTED = "started"  # as queued, and a `hold` send may have begun
    DUE = "due"  # waiting for a retry's time
    DELAYED = "delayed"  # waiting for `send_at`
    STANDBY = "standby"  # a fallback, waiting for the fate of the first
    HELD = "held"  # maybe sent, waiting for proof or its deadline
    DEAD = "dead"
    SETTLED = "settled"
    CANCELLED = "cancelled"
    SUPPRESSED = "suppressed"  # stopped by a limit at accept, never queued
    SKIPPED = "skipped"  # a fallback that was not needed


class Lane(NamedTuple):
    """The part of a vendor's mailbox for one priority, kept as a stream.

    Tenants of a lane may take turns. Some stores then keep the entries that were claimed from the tenants' queues in a
    second stream. `fair` is True if a claim comes from that second stream. Everywhere else the two streams count as one
    lane, and `fair` is False.
    """

    mailbox: str
    priority: str
    fair: bool = False


@dataclass(frozen=True, slots=True)
class Follows:
    """The link from a fallback to its *first* notification, the one that it replaces (`core.life.fallback`).

    Attributes:
        first: the index of the first notification in the same trigger. The first notification comes directly before the
            fallback.
        wait_for: `accepted` or `delivered`: what must happen to the first notification so that no fallback is needed.
        begin_ms: when the fallback begins at the latest, in wall milliseconds; None if it begins only after the end of
            the first notification.
        ttl_ms: the fallback's time to live, counted from its beginning.
    """

    first: int
    wait_for: str
    begin_ms: int | None
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class NewNotification:
    """One notification to be stored. `vendor` names the mailbox, and `chain` the allowed vendors in order.

    `caps` are the limits of its recipient. If a cap has no room, the notification is stored as suppressed.
    """

    channel: str
    to: str
    chain: tuple[str, ...]
    vendor: str
    template: str | None = None
    template_version: int | None = None
    template_digest: str | None = None  # of its content; None: whatever the version holds
    content: Mapping[str, str] | None = None  # subject, text, html, from the request instead of a template
    caps: tuple[Cap, ...] = ()
    sms: SmsSize | None = None  # what its text costs; None: it is no SMS
    person: int = 0  # which of the trigger's `people` it is for
    expires_ms: int | None = None  # its own time to live's end, instead of the trigger's
    send_at_ms: int | None = None  # beside an `expires_ms`: its own time as well; None: now
    follows: Follows | None = None  # then `send_at_ms` is when it is looked at, if nothing happens before


class TemplatePin(NamedTuple):
    """The template of a notification, fixed to one text: its stored name, its version, and the digest of that text.

    A record from an early release has no digest. Its pin means any text that the version has.
    """

    name: str
    version: int
    digest: str | None = None

    def holds(self, other: TemplatePin) -> bool:
        """Return True if `other` is the same version with the same text. A missing digest counts as the same text."""
        same = self.digest == other.digest or None in (self.digest, other.digest)
        return same and (self.name, self.version) == (other.name, other.version)


class Person(NamedTuple):
    """A recipient without the addresses: the caller's name for the recipient, and the language."""

    id: str | None = None
    locale: str | None = None


@dataclass(frozen=True, slots=True)
class NewTrigger:
    """One trigger to be stored, after its expansion and routing. Times are wall milliseconds of the store's clock.

    A trigger for one recipient has `recipient_id` and `locale`. A trigger for several recipients has `people` instead.
    """

    id: str
    tenant: str
    event: str
    body_hash: str
    accepted_ms: int
    expires_ms: int
    priority: str
    on_unknown: str  # resend | hold
    data: Mapping[str, Any]
    notifications: tuple[NewNotification, ...]
    recipient_id: str | None = None
    locale: str | None = None
    send_at_ms: int | None = None
    idempotency_key: str | None = None
    people: tuple[Person, ...] = ()
    rate: AcceptRate | None = None  # of its tenant; None: no limit
    cells: int = 1  # how many cells were in force when its cell was chosen; not stored
    suppressed: frozenset[int] | None = None  # what the counting cell suppressed; None: this cell counts rate and caps

    def person_of(self, n: NewNotification) -> Person:
        """Return the recipient of this notification of the trigger."""
        return self.people[n.person] if self.people else Person(self.recipient_id, self.locale)


@dataclass(frozen=True, slots=True)
class Trail:
    """The progress of a notification along its chain since it was accepted or last redriven.

    Attributes:
        tried: the vendors tried in this round. A new round begins with an empty list, so that all may be tried again.
        refused: the vendors among `tried` that refused the message itself.
        doubted: the vendors among `refused` that used an unlisted code. If another vendor accepts the message, these
            vendors were wrong.
        waits: how often the notification has waited after failures. Each wait is longer than the one before.
        refusals: in how many rounds every vendor of the chain has refused it. The wait after each such round is longer.
    """

    tried: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()
    waits: int = 0
    refusals: int = 0

    @property
    def is_new(self) -> bool:
        """Return True if no vendor was tried since the notification was accepted or last redriven.

        A refusal can be evidence against a vendor only if it is the message's first refusal.
        """
        return self == Trail()

    def after(self, vendor: str, refused: bool = False, doubted: bool = False) -> Trail:
        """Return the trail after `vendor` was tried.

        `refused` is True if `vendor` refused the message itself. `doubted` is True if it did so with an unlisted code.
        """
        return Trail(
            _with(self.tried, vendor),
            _with(self.refused, vendor) if refused else _without(self.refused, vendor),
            _with(self.doubted, vendor) if refused and doubted else _without(self.doubted, vendor),
            self.waits,
            self.refusals,
        )

    def after_wait(self, chain: tuple[str, ...]) -> Trail:
        """Return the trail with one more wait. If every vendor of the chain had been tried, a new round begins."""
        return self.next_round(waits=1) if all(v in self.tried for v in chain) else replace(self, waits=self.waits + 1)

    def next_round(self, waits: int = 0, refusals: int = 0) -> Trail:
        return Trail(waits=self.waits + waits, refusals=self.refusals + refusals)


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return names if name in names else (*names, name)


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(other for other in names if other != name)


def notification_id(trigger_id: str, index: int) -> str:
    return f"{trigger_id}.{index}"


def trigger_of(notification: str) -> str:
    return notification.rpartition(".")[0]


class CallMark(NamedTuple):
    """Tells which calls for a notification a vendor's later word can be about.

    A redrive and a reopening (`core.life.late_refusal`) change the mark, and end what was known about earlier calls. So
    a word about a call with another mark does not count for the present calls.
    """

    generation: int = 0
    reopened: int = 0


@dataclass(frozen=True, slots=True)
class LaterWord:
    """A vendor's word about a call that no answer told: by a receipt, by a look-up, or by an answer that came too late.

    Attributes:
        vendor: the vendor that was called.
        message_id: the vendor's id of the message; '' if it is not told.
        call: the mark of the call, if the word counts only for calls with this mark. None if it counts in any case.
    """

    vendor: str
    message_id: str = ""
    call: CallMark | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification as its courier has it: the accepted content and the progress so far.

    Attributes:
        attempts: how many calls of this generation may have arrived, over all vendors and rounds. This number has a
            limit.
        generation: how often it was redriven. The generation is part of the vendor's idempotency key.
        reopened: how often it was sent again because its vendor had refused it by a receipt.
        crashes: how often an actor crashed while it had claimed this notification. A move does not reset this count, so
            that a notification that crashes the actors of every vendor is found.
        moved_epoch: the epoch of the plan by which it last moved without an attempt. Each epoch allows one such move.
    """

    id: str
    tenant: str
    event: str
    channel: str
    to: str
    chain: tuple[str, ...]
    priority: str
    accepted_ms: int
    expires_ms: int
    on_unknown: str
    data: Mapping[str, Any]
    template: str | None = None
    template_version: int | None = None
    template_digest: str | None = None
    content: Mapping[str, str] | None = None
    locale: str | None = None
    attempts: int = 0
    generation: int = 0
    crashes: int = 0
    trail: Trail = Trail()
    moved_epoch: int = 0
    state: State = State.QUEUED
    reopened: int = 0

    @property
    def tried(self) -> tuple[str, ...]:
        return self.trail.tried

    @property
    def mark(self) -> CallMark:
        return CallMark(self.generation, self.reopened)


def pin_of(n: NewNotification | Notification) -> TemplatePin | None:
    """Return the template of a notification, or None if it has content instead of a template."""
    if n.template is None or n.template_version is None:
        return None
    return TemplatePin(n.template, n.template_version, n.template_digest)


@dataclass(frozen=True, slots=True)
class Claim:
    """One entry of a mailbox that one incarnation has claimed."""

    lane: Lane
    entry_id: str
    notification: Notification


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call in a notification's history. If the history is long, older calls are left out.

    In their place stands one attempt with the outcome `left_out`, whose `reason` is their number.
    """

    at_ms: int
    vendor: str
    outcome: str
    reason: str
    took_ms: int
    vendor_message_id: str | None = None
