"""The listing of notifications by state: notifications that are accepted and not ended, and dead letters.

Rules:

1. A state is listed from the one place where its notifications are: the mailboxes, or a set ordered by time. Nothing
   else is read. So the cost of a listing grows with what it looks at, and not with what is stored. Notifications that
   have ended are in no such place. Such notifications are found through their trigger.
2. A page begins behind a position, which is not a row number. Notifications may come and go between two pages. Even so,
   a notification that stays is never skipped or listed twice.
3. A notification that has left the place since it was found is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from dispatcher.core.life.decide import REFUSED_BY_ALL
from dispatcher.core.life.notification import Attempt


class Place(NamedTuple):
    """The part of the store that is read to list the notifications in a state.

    `states` are the states that a notification in this part may have. If `reason` is set, only notifications with this
    reason are listed.
    """

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
"""The place for each state that can be listed. `scheduled` is another name for `delayed`, for callers."""


ROWS_MAX = 200
"""The greatest number of rows in one answer."""


class PlacePosition(NamedTuple):
    """A position in a place, which is where notifications of one state wait: a mailbox, or a set ordered by time.

    In a mailbox, `stream` names the stream and `at` is the entry's id. In a set ordered by time, `stream` is empty and
    `at` is the score.
    """

    stream: str
    at: str
    id: str

    def __str__(self) -> str:
        return "|".join(self)


_CURSOR = re.compile(r"([^|]{0,300})\|([0-9]{1,20}(?:-[0-9]{1,20})?)\|([a-z0-9.-]{0,80})")


def parse_position(text: str) -> PlacePosition | None:
    """Return the position in `text`, or None if `text` was not made by `str(position)`."""
    found = _CURSOR.fullmatch(text)
    return PlacePosition(*found.groups()) if found else None


@dataclass(frozen=True, slots=True)
class ListingFilter:
    """The conditions of a listing. A condition that is None matches every notification."""

    place: Place
    tenant: str | None = None
    vendor: str | None = None
    channel: str | None = None
    reason: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Placed:
    """One notification as a listing shows it. Times are wall milliseconds.

    `until_ms` is when the notification is tried again, sent for the first time, or given up. None means as soon as
    possible, or that nothing more happens to it.
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
    """Return True if the notification is still in its place (rule 3) and matches the filter."""
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
