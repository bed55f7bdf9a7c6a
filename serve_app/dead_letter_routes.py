"""The routes that list, redrive and discard dead letters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.choices import Channel
from dispatcher.core.life.dead_letter import DeadLetter, DeadLetterFilter
from dispatcher.errors import CallerError
from dispatcher.operate.dead_letters import DeadLetters
from dispatcher.operate.over_cells.dead_letters import DeadLettersOverCells
from dispatcher.operate.redrive_updates import Wanted
from dispatcher.wire.moments import moment
from serve_app.access_control import tenant_of
from serve_app.notification_routes import shown_attempt

IDS_MAX = 1_000
Moment = Annotated[int, Field(ge=0, lt=2**53, description="Milliseconds since the epoch.")]
Limit = Annotated[int, Field(ge=1, le=1_000)]


class DeadLetterBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    ids: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        min_length=1,
        max_length=IDS_MAX,
        description="Without it, all dead letters that match the other fields.",
    )
    vendor: str | None = None
    channel: Channel | None = None
    reason: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: int = Field(
        default=100, ge=1, le=1_000, description="The most dead letters of one call. `cursor` leads to the next."
    )
    cursor: str | None = Field(default=None, max_length=200, description="The `cursor` of the previous answer.")


class DeadLetterOrder(DeadLetterBody):
    dry_run: bool = Field(default=False, description="Count what would be changed, and change nothing.")


class RedriveOrder(DeadLetterOrder):
    todays_template: bool = Field(default=False, description="Send the present version of each letter's template.")
    todays_route: bool = Field(default=False, description="Send through the vendors of the present route.")


def add_dead_letter_routes(app: FastAPI, dead_letters: DeadLetters | DeadLettersOverCells, *, separate: bool) -> None:
    """Add the routes for dead letters. With `separate`, each tenant sees and changes only its own dead letters."""

    def whose(request: Request) -> str | None:
        return tenant_of(request.scope) if separate else None

    _add_list(app, dead_letters, whose)
    _add_orders(app, dead_letters, whose)


def _add_list(
    app: FastAPI, dead_letters: DeadLetters | DeadLettersOverCells, whose: Callable[[Request], str | None]
) -> None:
    @app.get("/v1/dead-letters")
    async def listing(
        request: Request,
        *,
        vendor: str | None = None,
        channel: Channel | None = None,
        reason: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        ids: str | None = None,
        limit: Limit = 100,
        cursor: Annotated[str | None, Field(max_length=200)] = None,
    ) -> JsonObject:
        """List dead letters, the oldest first.

        `ids` is a list separated by commas. Times are milliseconds since the epoch. Give the answer's `cursor` to get
        the next page.
        """
        named = [] if ids is None else ids.split(",")
        if len(named) > IDS_MAX:
            raise CallerError("ids", f"must contain at most {IDS_MAX} ids")
        if not all(named):
            raise CallerError("ids", "must contain no empty id; leave it out to mean all that match the other fields")
        body = DeadLetterBody(
            vendor=vendor,
            channel=channel,
            reason=reason,
            since=since,
            until=until,
            limit=limit,
        )
        body.ids = named
        letters, going_on = await dead_letters.listing(_filter(body, whose(request)), cursor)
        return {"dead_letters": [_shown_letter(letter) for letter in letters], "cursor": going_on}


def _add_orders(
    app: FastAPI, dead_letters: DeadLetters | DeadLettersOverCells, whose: Callable[[Request], str | None]
) -> None:
    @app.post("/v1/dead-letters/redrive")
    async def redrive(request: Request, body: RedriveOrder) -> JsonObject:
        """Try up to `limit` matching dead letters again. For more, repeat with the `cursor` after `wait_s` seconds.

        The pace is slow while a vendor of a letter's chain gets no new work. While no vendor of the chain gets new
        work, the letter is `refused`. A letter that is dead as `unknown` may have arrived, so it is sent again only if
        `ids` or `reason` names it. A letter keeps its chain and its template version unless `todays_route` or
        `todays_template` is set. If today's template cannot be rendered, the letter stays dead.
        """
        today = Wanted(body.todays_template, body.todays_route)
        return asdict(await dead_letters.redrive(_filter(body, whose(request)), body.cursor, body.dry_run, today=today))

    @app.post("/v1/dead-letters/discard")
    async def discard(request: Request, body: DeadLetterOrder) -> JsonObject:
        """Abandon up to `limit` matching dead letters permanently. For more, repeat with the answer's `cursor`."""
        return asdict(await dead_letters.discard(_filter(body, whose(request)), body.cursor, body.dry_run))


def _filter(body: DeadLetterBody, tenant: str | None) -> DeadLetterFilter:
    """Return the filter that a body asks for. `tenant` None means the dead letters of all tenants."""
    return DeadLetterFilter(
        tuple(body.ids), tenant, body.vendor, body.channel, body.reason, body.since, body.until, body.limit
    )


def _shown_letter(letter: DeadLetter) -> JsonObject:
    attempts = [shown_attempt(attempt) for attempt in letter.attempts]
    return {**asdict(letter), **moment("dead", letter.dead_ms), "attempts": attempts}
