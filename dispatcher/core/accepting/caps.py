"""Recipient caps: how many messages of a kind one recipient may get within a period.

Rules:

1. A rule applies to one channel, and optionally only to some priorities and events. A notification must have room under
   every rule that applies to it. A notification without room is stored as `suppressed`. That state is final: nothing is
   sent.
2. The window slides. A rule that allows `most` has room if fewer than `most` notifications were counted within the last
   window. So no period of that length has more than `most` notifications, wherever it begins.
3. A notification counts when it is accepted to be sent, at that time. Suppressed, refused and replayed notifications do
   not count. A notification that is cancelled later still counts.
4. No priority is exempt, because SMS pumping fraud uses the priority `high`. A rule without priorities applies to
   `high` too.
5. Each tenant, rule and address has its own count. Only a hash of the three is stored, for no longer than the window.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol


class CapRule(Protocol):
    """One entry of `limits.recipient_caps`. An empty list of priorities or events matches every priority or event."""

    @property
    def channel(self) -> str: ...
    @property
    def priority(self) -> Sequence[str]: ...
    @property
    def event(self) -> Sequence[str]: ...
    @property
    def max(self) -> int: ...
    @property
    def per_s(self) -> int: ...


class Cap(NamedTuple):
    """A rule that applies to one recipient: at most `most` messages in `per_ms`. `key` names the count in the store."""

    key: str
    most: int
    per_ms: int


def caps_of(
    rules: Iterable[CapRule], tenant: str, event: str, channel: str, *, priority: str, address: str
) -> tuple[Cap, ...]:
    """Return the caps that apply to a notification of this tenant, event, channel, priority and address.

    Upper and lower case in an address make no difference to the count.
    """
    return tuple(
        Cap(_key(rule, tenant, address.lower()), rule.max, rule.per_s * 1000)
        for rule in rules
        if rule.channel == channel
        and (not rule.priority or priority in rule.priority)
        and (not rule.event or event in rule.event)
    )


def has_room(times_ms: Sequence[int], most: int, per_ms: int, now_ms: int) -> bool:
    """Return True if one more message is allowed under a rule. This is so if fewer than `most` of `times_ms` lie within
    the last `per_ms`.

    `times_ms` are the times at which earlier messages were accepted, in wall milliseconds, the oldest first.
    """
    return len(times_ms) < most or times_ms[-most] <= now_ms - per_ms


def identity(rule: CapRule) -> tuple[str, tuple[str, ...], tuple[str, ...], int]:
    """Return the fields of a rule that identify its count: channel, priorities, events and period.

    Rules with equal fields share a count. `max` is not among the fields, because a change of the limit must not start a
    new count.
    """
    return rule.channel, tuple(sorted(rule.priority)), tuple(sorted(rule.event)), rule.per_s


def _key(rule: CapRule, tenant: str, address: str) -> str:
    return hashlib.sha256(json.dumps([tenant, address, *identity(rule)]).encode()).hexdigest()[:32]
