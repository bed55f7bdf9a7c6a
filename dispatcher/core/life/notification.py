"""The nouns of a notification's life: triggers, notifications, claims and attempts.

The module has values only. The store's scripts decide where a notification is (its `State`). `core.life.decide` decides
where it goes next.

Ids: a trigger's id is `<cell>-<26 letters>`; a notification's id is `<trigger id>.<index>`, so that the key of its
record, and its cell, follow from its id alone.
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
    """The place of a notification. `dead` can be left by a redrive; the last four are final."""

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
    """One stream of a vendor's mailbox. A mailbox has one lane for each priority.

    `fair` marks the stream beside a lane that holds what was claimed from its tenants' queues. Stores that have such a
    stream name it in their claims. Otherwise it belongs to its lane, and nobody asks for it.
    """

    mailbox: str
    priority: str
    fair: bool = False


@dataclass(frozen=True, slots=True)
class Follows:
    """A fallback's tie to the notification that it is for, of the same trigger (`core.life.fallback`).

    Attributes:
        first: the index of the other, which is stored before it.
        wait_for: `accepted` or `delivered`.
        begin_ms: when its time comes, wall milliseconds; None: only the end of the first begins it.
        ttl_ms: its time to live, from its beginning on.
    """

    first: int
    wait_for: str
    begin_ms: int | None
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class NewNotification:
    """One notification to be stored. `vendor` names the mailbox, `chain` the vendors allowed, in order.

    `caps` are the limits of its recipient. Without room under each of them it is stored as suppressed.
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
    """The text of a notification: a template's stored name, its version, and the digest of that version's content.

    A record without a digest was written before there was one, and means whatever the version holds.
    """

    name: str
    version: int
    digest: str | None = None

    def holds(self, other: TemplatePin) -> bool:
        """Return True if `other` is the same version, as far as the digests tell."""
        same = self.digest == other.digest or None in (self.digest, other.digest)
        return same and (self.name, self.version) == (other.name, other.version)


class Person(NamedTuple):
    """A recipient, without an address: the caller's name for it, and its language."""

    id: str | None = None
    locale: str | None = None


@dataclass(frozen=True, slots=True)
class NewTrigger:
    """One trigger to be stored, expanded and routed. Times are wall milliseconds of the store's clock.

    A trigger for one recipient has `recipient_id` and `locale`, one for several has `people` instead.
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

    def person_of(self, n: NewNotification) -> Person:
        """Return the recipient of one of its notifications."""
        return self.people[n.person] if self.people else Person(self.recipient_id, self.locale)


@dataclass(frozen=True, slots=True)
class Trail:
    """The progress of a notification along its chain in this generation.

    Attributes:
        tried: the vendors tried in this round; emptied when a round ends, else every later round were "all tried".
        refused: the tried vendors that refused the message itself.
        doubted: the vendors of `refused` whose code is not listed: if another vendor accepts the message, they erred.
        waits: how often it has waited after failures; the next wait is longer.
        refusals: how often every vendor of the chain had refused it; the next such wait is longer.
    """

    tried: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()
    waits: int = 0
    refusals: int = 0

    @property
    def is_new(self) -> bool:
        """Return True if no vendor was tried in this generation. Only a first refusal can be evidence."""
        return self == Trail()

    def after(self, vendor: str, refused: bool = False, doubted: bool = False) -> Trail:
        """Return the trail after `vendor` was tried. `refused` and `doubted` tell how the vendor answered."""
        return Trail(
            _with(self.tried, vendor),
            _with(self.refused, vendor) if refused else _without(self.refused, vendor),
            _with(self.doubted, vendor) if refused and doubted else _without(self.doubted, vendor),
            self.waits,
            self.refusals,
        )

    def after_wait(self, chain: tuple[str, ...]) -> Trail:
        """Return the trail for the try after a wait. If the round is over, a new round begins."""
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


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification as its courier sees it: the accepted content and the progress so far.

    Attributes:
        attempts: the calls of this generation that may have arrived, over all vendors and rounds; they have a budget.
        generation: raised by each redrive; part of the vendor's idempotency key.
        crashes: how often an actor died with this entry claimed; kept across moves, so that poison is found.
        moved_epoch: the plan epoch of the last move that cost no attempt; each epoch allows one such move.
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

    @property
    def tried(self) -> tuple[str, ...]:
        return self.trail.tried


def pin_of(n: NewNotification | Notification) -> TemplatePin | None:
    """Return the template of a notification; None: it has content of its own."""
    if n.template is None or n.template_version is None:
        return None
    return TemplatePin(n.template, n.template_version, n.template_digest)


@dataclass(frozen=True, slots=True)
class Claim:
    """One entry claimed by one incarnation."""

    lane: Lane
    entry_id: str
    notification: Notification


@dataclass(frozen=True, slots=True)
class Attempt:
    """One line of a notification's history. `outcome` left_out means that `reason` older lines were not kept."""

    at_ms: int
    vendor: str
    outcome: str
    reason: str
    took_ms: int
    vendor_message_id: str | None = None
