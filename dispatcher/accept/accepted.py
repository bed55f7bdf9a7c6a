"""The answer to a trigger: as it was just stored, or as it was stored before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dispatcher.core.life.notification import NewTrigger, State, notification_id
from dispatcher.core.life.trigger_view import TriggerView
from dispatcher.core.limits.accept_rate import AcceptRate, Quota
from dispatcher.ports import AcceptReply


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to one trigger.

    Attributes:
        notifications: (id, channel, vendor) of each notification.
        replayed: True if an earlier trigger with the same key gave this answer.
        suppressed: the ids of notifications that are never sent.
        recipients: the index of each notification's recipient; empty if the trigger has one recipient.
        rate, quota: the tenant's accept rate, and what the tenant may still send; None without a rate, or after a
            replay.
        fallbacks: fallback's id → id of the notification that it replaces.
    """

    id: str
    notifications: tuple[tuple[str, str, str], ...]
    replayed: bool
    suppressed: frozenset[str] = frozenset()
    recipients: tuple[int, ...] = ()
    rate: AcceptRate | None = None
    quota: Quota | None = None
    fallbacks: Mapping[str, str] = field(default_factory=dict)


def accepted(trigger: NewTrigger, reply: AcceptReply) -> Accepted:
    """Return the answer to a trigger that was just stored. Some of its notifications may be suppressed."""
    return Accepted(
        trigger.id,
        tuple((notification_id(trigger.id, i), n.channel, n.vendor) for i, n in enumerate(trigger.notifications)),
        False,
        frozenset(notification_id(trigger.id, i) for i in reply.suppressed),
        tuple(n.person for n in trigger.notifications) if trigger.people else (),
        trigger.rate,
        reply.quota,
        {
            notification_id(trigger.id, i): notification_id(trigger.id, n.follows.first)
            for i, n in enumerate(trigger.notifications)
            if n.follows is not None
        },
    )


def replayed(view: TriggerView) -> Accepted:
    """Return the answer to a trigger that was stored before. It is the first answer again, marked as replayed."""
    suppressed = frozenset(n.id for n in view.notifications if n.state == State.SUPPRESSED)
    recipients = tuple(n.recipient for n in view.notifications if n.recipient is not None)
    notifications = tuple((n.id, n.channel, n.vendor) for n in view.notifications)
    fallbacks = {n.id: n.fallback_for for n in view.notifications if n.fallback_for is not None}
    return Accepted(view.id, notifications, True, suppressed, recipients, fallbacks=fallbacks)
