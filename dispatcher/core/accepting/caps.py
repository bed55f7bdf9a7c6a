"""Recipient caps: how many messages of a kind one recipient may be sent within a stretch of time.

Rules:

1. A rule is about one channel, and perhaps about some priorities and events only. A notification must have room under
   every rule that applies to it; one that has not is stored as `suppressed`, an end, and never sent.
2. The window slides: room is there when the `most`-th last that was let through is older than the window. So no stretch
   of that length holds more than `most`, wherever it begins.
3. What counts is what was accepted to be sent, at the time it was accepted: not what was suppressed, refused or
   replayed. What is cancelled later has counted.
4. Nobody is exempt. Priority `high` is what an SMS pump asks for, so it has a rule of its own or shares the others'.
5. A count belongs to tenant, rule and address. Only a hash of these is stored, and for no longer than the window.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol


class CapRule(Protocol):
    """One entry of `limits.recipient_caps`. An empty list applies to all."""

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
    """A rule as it applies to one recipient: `key` names the count."""

    key: str
    most: int
    per_ms: int


def caps_of(
    rules: Iterable[CapRule], tenant: str, event: str, channel: str, priority: str, address: str
) -> tuple[Cap, ...]:
    """The caps that a notification must have room under. E-mail addresses differ in more than upper and lower case."""
    return tuple(
        Cap(_key(rule, tenant, address.lower()), rule.max, rule.per_s * 1000)
        for rule in rules
        if rule.channel == channel
        and (not rule.priority or priority in rule.priority)
        and (not rule.event or event in rule.event)
    )


def has_room(times_ms: Sequence[int], most: int, per_ms: int, now_ms: int) -> bool:
    """Is there room for one more after those let through at `times_ms`, oldest first?"""
    return len(times_ms) < most or times_ms[-most] <= now_ms - per_ms


def identity(rule: CapRule) -> tuple[str, tuple[str, ...], tuple[str, ...], int]:
    """What makes two rules one count. Not `max`: raising it must not forgive what was sent."""
    return rule.channel, tuple(sorted(rule.priority)), tuple(sorted(rule.event)), rule.per_s


def _key(rule: CapRule, tenant: str, address: str) -> str:
    return hashlib.sha256(json.dumps([tenant, address, *identity(rule)]).encode()).hexdigest()[:32]
