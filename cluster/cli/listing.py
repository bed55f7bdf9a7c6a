"""`dispatcher list`: shows the notifications in a state."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from typing import Any, Protocol

import click

from cluster.cli.api import Api, remote
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.listing import LISTED, ROWS_MAX


class Caller(Protocol):
    """An object that calls the service. In production this is a `cluster.cli.api.Api`."""

    def call(self, method: str, path: str) -> Any: ...


@click.command("list")
@click.argument("state", type=click.Choice(list(LISTED)))
@click.option("--vendor", help="Only notifications that are in this vendor's mailbox, or were there last.")
@click.option("--channel", help="Only notifications of this channel.")
@click.option("--reason", help="Only notifications with this reason.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Show at most this many.")
@remote
def list_by_state(
    api: Api, *, state: str, vendor: str | None, channel: str | None, reason: str | None, limit: int
) -> None:
    """Show the notifications in STATE: id, key, recipient, vendor, reason, and until when each waits."""
    chosen = {"state": state, "vendor": vendor, "channel": channel, "reason": reason}
    for row in rows(api, {name: value for name, value in chosen.items() if value is not None}, limit):
        click.echo(line(row))


def rows(api: Caller, chosen: dict[str, str], limit: int) -> Iterator[JsonObject]:
    """Yield up to `limit` rows that match `chosen`. Pages are read from the service as they are needed."""
    left, cursor = limit, None
    while left > 0:
        query = {**chosen, "limit": min(left, ROWS_MAX), **({} if cursor is None else {"cursor": cursor})}
        answer = api.call("GET", f"/v1/notifications?{urllib.parse.urlencode(query)}")
        yield from answer["notifications"]
        left, cursor = left - len(answer["notifications"]), answer["cursor"]
        if cursor is None:
            return


def line(row: JsonObject) -> str:
    """Return a row as one line. A dash stands for a missing value."""
    until = f"until {row['until']}" if row["until"] else f"since {row['accepted']}"
    names = f"{row['idempotency_key'] or '–':16} {row['recipient_id'] or '–':16}"
    return f"{row['id']}  {names} {row['vendor']:12} {row['reason'] or row['state']:20} {until}"
