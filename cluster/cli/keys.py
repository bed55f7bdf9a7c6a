"""`dispatcher key`: makes, lists, replaces and removes API keys. The keys are in a file in the state directory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dispatcher.adapters.api_keys import (
    BEFORE_SCOPES,
    SCOPES,
    KeyRow,
    list_keys,
    new_key,
    revoke_key,
    rotate_key,
)
from dispatcher.errors import ConfigError

UNITS_S = {"m": 60, "h": 3600, "d": 86_400}
LONGEST_S = 3_660 * 86_400


@click.group()
def key() -> None:
    """Make, list, replace and remove API keys. A running service sees every change within two seconds."""


def in_state_dir(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option `--state-dir` to a command."""
    kind = click.Path(file_okay=False, path_type=Path)
    return click.option(
        "--state-dir", type=kind, default=Path("state"), show_default=True, help="The state directory of the service."
    )(function)


@key.command("new")
@click.argument("tenant")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    help=f"What the key may do. Repeat it for several. Without it: {' and '.join(BEFORE_SCOPES)}.",
)
@click.option(
    "--expires", metavar="DURATION", help="How long the key works, such as 90d, 12h or 30m. Without it, forever."
)
@in_state_dir
def key_new(tenant: str, scopes: tuple[str, ...], expires: str | None, state_dir: Path) -> None:
    """Make a key for TENANT. The key is shown only once, because only its digest is stored."""
    expires_ms = None if expires is None else time.time_ns() // 1_000_000 + _seconds("--expires", expires) * 1000
    click.echo(new_key(_file(state_dir), tenant, scopes or BEFORE_SCOPES, expires_ms))


@key.command("list")
@in_state_dir
def key_list(state_dir: Path) -> None:
    """Show each key's prefix, tenant, scopes and expiry time. The keys themselves are not stored."""
    rows = list_keys(_file(state_dir))
    click.echo(f"{'PREFIX':10} {'TENANT':20} {'SCOPES':32} {'MADE':20} EXPIRES")
    for row in rows:
        click.echo(
            f"{row.prefix:10} {row.tenant:20} {','.join(row.scopes):32} {_moment(row.created_ms):20} {_end(row)}"
        )
    old = made_before_scopes(rows)
    if old:
        click.echo(old, err=True)


@key.command("revoke")
@click.argument("prefix")
@in_state_dir
def key_revoke(prefix: str, state_dir: Path) -> None:
    """Remove the key with this PREFIX. A service that requires keys goes on requiring a key, even after its last key is
    removed.
    """
    row = revoke_key(_file(state_dir), prefix)
    click.echo(f"{row.prefix} of {row.tenant} is revoked")


@key.command("rotate")
@click.argument("prefix")
@click.option("--keep", default="24h", show_default=True, metavar="DURATION", help="How long the old key still works.")
@in_state_dir
def key_rotate(prefix: str, keep: str, state_dir: Path) -> None:
    """Make a new key with the tenant and scopes of the key with this PREFIX. The new key is shown only once.

    The old key ends after the time given by --keep.
    """
    made, old = rotate_key(_file(state_dir), prefix, _seconds("--keep", keep))
    click.echo(made)
    click.echo(f"{old.prefix} of {old.tenant} ends {_end(old)}", err=True)


def made_before_scopes(rows: list[KeyRow]) -> str | None:
    """Return one sentence about the keys that were made before keys had scopes, or None if there are none."""
    old = [row.prefix for row in rows if not row.scoped]
    if not old:
        return None
    named = ", ".join(old[:5]) + (f" and {len(old) - 5} more" if len(old) > 5 else "")
    return (
        f"keys made before scopes may {' and '.join(BEFORE_SCOPES)}, nothing else: {named}; "
        "for templates or operators make one with `dispatcher key new --scope`"
    )


def _file(state_dir: Path) -> Path:
    return state_dir / "api_keys.json"


def _seconds(option: str, text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text)
    seconds = int(found[1]) * UNITS_S[found[2]] if found else -1
    if not 0 <= seconds <= LONGEST_S:
        raise ConfigError(f"{option}: must be a number of minutes, hours or days, such as 30m, 12h or 90d")
    return seconds


def _moment(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_ms / 1000))


def _end(row: KeyRow) -> str:
    if row.expires_ms is None:
        return "never"
    over = row.expires_ms <= time.time_ns() // 1_000_000
    return f"{_moment(row.expires_ms)}{' (over)' if over else ''}"
