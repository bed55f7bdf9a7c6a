"""Lists notifications by state for callers and operators, a limited number in each call."""

from __future__ import annotations

from dataclasses import replace

from dispatcher.core.life.listing import ListingFilter, Placed, is_wanted, parse_position
from dispatcher.errors import CallerError
from dispatcher.ports import StateListings

PAGE = 200
"""How many notifications are read in one round trip.

That takes some milliseconds of Redis; accepts are served in between.
"""

EXAMINED_MAX = 5_000
"""How many notifications one call looks at. So it answers within a second even if none matches, and is called again."""


class Listings:
    """Lists the notifications in a place, page by page."""

    def __init__(self, places: StateListings) -> None:
        self._places = places

    async def listing(self, wanted: ListingFilter, cursor: str | None) -> tuple[list[Placed], str | None]:
        """Return the next notifications that match, and the cursor with which the next call continues.

        There are at most `wanted.limit` notifications. The cursor is None at the end of the listing. A page may have
        few rows or none and still have a cursor. Raises CallerError if the cursor is not from an earlier answer. Raises
        UnavailableError.
        """
        after = None if cursor is None else parse_position(cursor)
        if cursor is not None and (after is None or (wanted.place.name == "queued") != bool(after.stream)):
            raise CallerError("cursor", "must be the cursor of an earlier answer for this state")
        rows: list[Placed] = []
        for _ in range(EXAMINED_MAX // PAGE):
            page = await self._places.page(wanted.place.name, after, PAGE)
            for row, at in page.rows:
                if is_wanted(row, wanted):
                    rows.append(row)
                    if len(rows) == wanted.limit:
                        return await self._named(rows), str(at)
            if page.last is None:
                return await self._named(rows), None
            after = page.last
        return await self._named(rows), str(after)

    async def _named(self, rows: list[Placed]) -> list[Placed]:
        """Return the rows, each with the name that its caller gave the recipient.

        These names are stored with the personal data, which is read only for these rows.
        """
        names = await self._places.recipients([row.id for row in rows])
        return [replace(row, recipient_id=name) for row, name in zip(rows, names, strict=True)]
