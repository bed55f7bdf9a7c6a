"""The route that lists notifications by state."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import FastAPI, Request
from pydantic import Field

from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.choices import Channel
from dispatcher.core.life.listing import LISTED, ROWS_MAX, ListingFilter, Placed
from dispatcher.core.life.notification import Attempt
from dispatcher.operate.listings import Listings
from dispatcher.operate.over_cells.listings import ListingsOverCells
from dispatcher.wire.moments import moment
from serve_app.access_control import tenant_of

ListedState = Literal["queued", "due", "refused_by_all", "delayed", "scheduled", "standby", "held", "dead"]


def add_notification_routes(app: FastAPI, listings: Listings | ListingsOverCells, *, separate: bool) -> None:
    """Add the route `GET /v1/notifications`. With `separate`, each tenant sees only its own notifications."""

    @app.get("/v1/notifications")
    async def listing(
        request: Request,
        *,
        state: ListedState,
        vendor: str | None = None,
        channel: Channel | None = None,
        reason: str | None = None,
        limit: Annotated[int, Field(ge=1, le=ROWS_MAX)] = 100,
        cursor: Annotated[str | None, Field(max_length=500)] = None,
    ) -> JsonObject:
        """List the notifications in one state.

        Give the answer's `cursor` to get the next page. A page may have no rows and still have a cursor. Without a
        cursor the list has ended.

        `queued`: in a mailbox. `due`: waits for another try. `refused_by_all`: like `due`, after every vendor has
        refused. `delayed` or `scheduled`: waits for `send_at` or for the end of quiet hours. `standby`: a fallback that
        waits for the notification before it.
        """
        tenant = tenant_of(request.scope) if separate else None
        wanted = ListingFilter(LISTED[state], tenant, vendor, channel, reason, limit)
        rows, going_on = await listings.listing(wanted, cursor)
        return {"notifications": [shown_row(row) for row in rows], "cursor": going_on}


def shown_row(row: Placed) -> JsonObject:
    """Return a row as JSON. Every point in time is given twice: in milliseconds since the epoch, and as a text."""
    times = {name: getattr(row, f"{name}_ms") for name in ("accepted", "expires", "until")}
    shown = asdict(row)
    for name, at_ms in times.items():
        shown.update(moment(name, at_ms))
    shown["attempts"] = [shown_attempt(attempt) for attempt in row.attempts]
    return shown


def shown_attempt(attempt: Attempt) -> JsonObject:
    """Return an attempt as JSON, with its time in milliseconds and as a text."""
    return {**asdict(attempt), **moment("at", attempt.at_ms)}
