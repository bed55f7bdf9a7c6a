"""The listing of notifications by state: what is accepted and not ended, and dead letters.

Rules
-----
1. A state is listed from the one place that holds it: mailboxes, or a set ordered by time. Nothing else is read, so a
   listing costs what it looks at, and never what is stored. Ended notifications are in no such place; find them by
   their trigger.
2. A page is a stretch of the place behind a position. A position is not a number of rows: whatever comes and goes
   meanwhile, nothing that stays is skipped or met twice.
3. What has left the place since it was looked up is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from dispatcher.core.life.decide import REFUSED_BY_ALL
from dispatcher.core.life.notification import Attempt


class Place(NamedTuple):
    """Where the notifications of a listed state are, which states they may have there, and for what reason."""

    name: str
    states: frozenset[str]
    reason: str | None = None


LISTED = {
    "queued": Place("queued", frozenset({"queued", "started"})),
    "due": Place("due", frozenset({"due"})),
    "refused_by_all": Place("due", frozenset({"due"}), REFUSED_BY_ALL),
    "delayed": Place("delayed", frozenset({"delayed"})),
    "scheduled": Place("delayed", frozenset({"delayed"})),
    "standby": Place("delayed", frozenset({"standby"})),
    "held": Place("held", frozenset({"held"})),
    "dead": Place("dead", frozenset({"dead"})),
}
"""The states that can be listed. `scheduled` is the callers' word for `delayed`."""


ROWS_MAX = 200
"""The most rows of one answer."""


class PlacePosition(NamedTuple):
    """A position in a place. `stream` is empty in a set; there `at` is the score, else it is the entry's id."""

    stream: str
    at: str
    id: str

    def __str__(self) -> str:
        return "|".join(self)


_CURSOR = re.compile(r"([^|]{0,300})\|([0-9]{1,20}(?:-[0-9]{1,20})?)\|([a-z0-9.-]{0,80})")


def parse_position(text: str) -> PlacePosition | None:
    """Return the position in `text`, or None if it is no position of ours."""
    found = _CURSOR.fullmatch(text)
    return PlacePosition(*found.groups()) if found else None


@dataclass(frozen=True, slots=True)
class ListingFilter:
    """The selection of a listing. None matches all."""

    place: Place
    tenant: str | None = None
    vendor: str | None = None
    channel: str | None = None
    reason: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Placed:
    """One notification as a listing shows it. Times are wall milliseconds.

    `until_ms` is when it is tried again, sent for the first time, or given up; None: as soon as possible, or never.
    """

    id: str
    tenant: str
    event: str
    channel: str
    vendor: str
    state: str
    reason: str | None
    accepted_ms: int
    expires_ms: int
    until_ms: int | None
    attempts: tuple[Attempt, ...]
    idempotency_key: str | None = None
    recipient_id: str | None = None


def is_wanted(row: Placed, wanted: ListingFilter) -> bool:
    """Return True if the row is still in its place (rule 3) and matches."""
    place = wanted.place
    return row.state in place.states and all(
        expected in (None, found)
        for expected, found in (
            (place.reason, row.reason),
            (wanted.tenant, row.tenant),
            (wanted.vendor, row.vendor),
            (wanted.channel, row.channel),
            (wanted.reason, row.reason),
        )
    )
