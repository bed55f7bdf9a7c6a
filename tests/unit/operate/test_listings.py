"""Listings of notifications: each call examines a bounded number, and only our own cursors are accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dispatcher.core.life.listing import LISTED, ListingFilter, PlacePosition
from dispatcher.errors import CallerError
from dispatcher.operate.listings import Listings
from dispatcher.ports import PlacePage


class Endless:
    """A place (such as `due`) with endless entries, none of which matches the filter."""

    calls = 0

    async def page(self, place: str, after: PlacePosition | None, examine: int) -> PlacePage:
        self.calls += 1
        return PlacePage([], PlacePosition("", str(self.calls), "x"))

    async def recipients(self, ids: Sequence[str]) -> list[str | None]:
        return [None for _ in ids]


def test_a_call_without_a_match_ends_with_a_cursor() -> None:
    """No notification of a place matches a listing. The call ends after 25 pages (5,000 notifications).

    It returns the cursor at which the next call continues.
    """
    place = Endless()
    rows, cursor = asyncio.run(Listings(place).listing(ListingFilter(LISTED["held"]), None))
    assert (rows, cursor, place.calls) == ([], "|25|x", 25)


@pytest.mark.parametrize(
    ("state", "cursor"),
    [("held", "x"), ("held", "a:normal|1-1|"), ("queued", "|17|0-t.0"), ("held", "|17|0-t.0|"), ("held", "")],
)
def test_a_cursor_that_is_not_ours_is_refused(state: str, cursor: str) -> None:
    """A malformed cursor of a listing is refused. So is a cursor from the listing of another state, if that state is
    read from another part of the store.
    """
    with pytest.raises(CallerError, match="an earlier answer") as error:
        asyncio.run(Listings(Endless()).listing(ListingFilter(LISTED[state]), cursor))
    assert error.value.field == "cursor"
