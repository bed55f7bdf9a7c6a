"""Dead letters: the notifications that are no longer tried, their order, and an operator's selection of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dispatcher.core.life.notification import Attempt


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A notification that is no longer tried, with its reason and history."""

    id: str
    tenant: str
    event: str
    channel: str
    vendor: str
    reason: str
    dead_ms: int
    attempts: tuple[Attempt, ...]
    idempotency_key: str | None = None
    recipient_id: str | None = None


class DeadPosition(NamedTuple):
    """A position in the order of dead letters: by time of death (wall milliseconds), then by id.

    The id '' comes first.
    """

    dead_ms: int
    id: str


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """An operator's selection of dead letters. An empty field or None matches all. Times are wall milliseconds."""

    ids: tuple[str, ...] = ()
    tenant: str | None = None
    vendor: str | None = None
    channel: str | None = None
    reason: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    limit: int = 100
