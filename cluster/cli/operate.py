"""The operators' commands. They use the HTTP API, except the commands for API keys and configuration files."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from actors.proof import certificate_pair, prove
from cluster.api_answers import VendorRow
from cluster.cli import bulk
from cluster.cli.api import Api, ApiError, header_value, print_json, quoted, read_json, remote
from cluster.cli.explain import explain
from dispatcher.config.schema import settings_schema
from dispatcher.config.yaml_file import load_settings
from dispatcher.wire.moments import local

Function = TypeVar("Function", bound=Callable[..., Any])


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@remote
def status(api: Api, as_json: bool) -> None:
    """Show the service's health, the current plan and all vendors."""
    health, vendors = api.call("GET", "/healthz"), api.call("GET", "/v1/vendors")["vendors"]
    planned = api.call("GET", "/v1/plan?limit=1")
    plan, plans = planned["plan"], planned.get("plans", {})
    if as_json:
        several = {"plans": plans} if plans else {}
        print_json({"health": health, "plan": plan, **several, "vendors": vendors})
        return
    shown = ", ".join(_plan_of(found, f"cell {cell} ") for cell, found in plans.items()) or _plan_of(plan)
    click.echo(f"version {health['version']}, ingress {health['ingress']}, {shown}")
    for warning in health["warnings"]:
        click.echo(f"WARNING: {warning}")
    _show_vendors(vendors)


def _plan_of(plan: Mapping[str, Any], of: str = "") -> str:
    return f"{of}plan {plan['epoch']} ({plan['reason']})"


@click.command()
@remote
def vendors(api: Api) -> None:
    """Show each vendor: its state, its breakers, the mailboxes that it drains, its backlog and its outcomes."""
    _show_vendors(api.call("GET", "/v1/vendors")["vendors"])


def _show_vendors(rows: list[VendorRow]) -> None:
    click.echo("\n\n".join("\n".join(vendor_lines(row)) for row in rows))


def vendor_lines(vendor: VendorRow) -> list[str]:
    """Return the lines that describe one vendor: its state and the reason, its work, its outcomes.

    A long line is never cut.
    """
    undrained = (vendor["held"] or "").removeprefix(f"{vendor['state']}, ")  # the line begins with the state
    why = "; ".join(filter(None, (vendor["reason"], undrained)))
    waits = [f"{n} {place}" for place, n in vendor.get("places", {}).items() if n and place != "queued"]
    work = [
        f"drains {', '.join(vendor['drains']) or 'nobody'}",
        ", ".join([f"{vendor['queued']} queued", *waits]),
        f"oldest {vendor['oldest_age_ms'] / 1000:.1f} s",
        f"{vendor['replicas']} actor{'' if vendor['replicas'] == 1 else 's'}",
    ]
    if vendor.get("next_try"):
        work.append(f"next try {vendor['next_try']}")
    outcomes = [f"{n:.0f} {outcome}" for outcome, n in sorted(vendor["attempts"].items())]
    return [
        f"{vendor['name']} ({vendor['channel']}): {_state_of(vendor)}{f', {why}' if why else ''}",
        f"    {'; '.join(work)}",
        f"    outcomes: {', '.join(outcomes) or 'none'}",
    ]


def _state_of(vendor: VendorRow) -> str:
    """Return the vendor's state, and each country that is cut off, with the seconds since the cut-off began.

    If several actors report the same country, the longest time is shown.
    """
    for_s: dict[str, float] = {}
    for breaker in vendor["breaker"]:
        for country, found in breaker["cut_off"].items():
            for_s[country] = max(for_s.get(country, 0.0), found["for_s"])
    countries = ", ".join(f"{country} (for {seconds:.0f} s)" for country, seconds in sorted(for_s.items()))
    return f"{vendor['state']} without {countries}" if for_s else str(vendor["state"])


@click.command()
@click.argument("trigger_id")
@remote
def show(api: Api, trigger_id: str) -> None:
    """Show a trigger with every attempt of its notifications.

    TRIGGER_ID may also be an idempotency key, written as `key:ORDER-1234`.
    """
    if trigger_id.startswith("key:"):
        print_json(_by_key(api, trigger_id))
    else:
        print_json(api.call("GET", f"/v1/triggers/{quoted(trigger_id)}"))


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--idempotency-key", help="A repeat with the same key and body sends nothing twice.")
@click.option("--dry-run", is_flag=True, help="Show the route, the time and the text. Store and send nothing.")
@remote
def send(api: Api, file: Any, idempotency_key: str | None, dry_run: bool) -> None:
    """Post the trigger in FILE. The FILE `-` is standard input."""
    headers = {"Idempotency-Key": header_value("--idempotency-key", idempotency_key)} if idempotency_key else {}
    body = read_json(file.read(), file.name)
    if dry_run and isinstance(body, dict):
        body["dry_run"] = True
    print_json(api.call("POST", "/v1/triggers", body, headers))


@click.command()
@click.argument("trigger_id")
@remote
def cancel(api: Api, trigger_id: str) -> None:
    """Withdraw the trigger's notifications that no vendor actor has claimed yet.

    TRIGGER_ID may also be an idempotency key, written as `key:ORDER-1234`.
    """
    if trigger_id.startswith("key:"):
        trigger_id = str(_by_key(api, trigger_id)["id"])
    print_json(api.call("POST", f"/v1/triggers/{quoted(trigger_id)}/cancel", {}))


def _by_key(api: Api, key: str) -> Any:
    """Return the trigger that was posted with this idempotency key. `key` still has the prefix `key:`."""
    return api.call("GET", "/v1/triggers?idempotency_key=" + quoted(key.removeprefix("key:")))


@click.command()
@click.argument("name")
@click.argument("state", type=click.Choice(["open", "close", "auto"]))
@click.option("--why", default="", help="The reason, which the plan then shows.")
@click.option("--for", "for_s", type=int, help="After this many seconds the override ends by itself.")
@remote
def vendor(api: Api, *, name: str, state: str, why: str, for_s: int | None) -> None:
    """Override a vendor's state.

    With `open`, nothing is sent to the vendor. With `close`, messages are sent whatever the breaker says. `auto` ends
    the override.
    """
    body = {"state": state, "why": why, "for_s": for_s}
    print_json(api.call("POST", f"/v1/vendors/{quoted(name)}/override", body))


@click.command()
@click.option("--limit", default=10, show_default=True, help="Show at most this many plans.")
@remote
def plan(api: Api, limit: int) -> None:
    """Show the last plans with their reasons, the newest first."""
    for entry in api.call("GET", f"/v1/plan?limit={limit}")["history"]:
        cell = f"cell {entry['cell']} " if "cell" in entry else ""
        click.echo(f"{cell}{entry['epoch']:6} {local(entry['at_ms'])} {entry['reason']}")


@click.group()
def dead() -> None:
    """List, show, redrive and discard dead letters."""


def filters(function: Function) -> Function:
    """Add options to a command. With these options, an operator chooses which dead letters the command is about."""
    for option in (
        click.option("--limit", default=100, show_default=True, help="Process at most this many letters."),
        click.option(
            "--until", type=int, help="Only letters that died at this time or before, in milliseconds since the epoch."
        ),
        click.option(
            "--since", type=int, help="Only letters that died at this time or later, in milliseconds since the epoch."
        ),
        click.option("--reason", help="Only letters with this reason."),
        click.option("--channel", help="Only letters of this channel."),
        click.option("--vendor", help="Only letters that died at this vendor."),
        click.option("--id", "ids", multiple=True, help="Only the letter with this id."),
    ):
        function = option(function)
    return function


def _filter(arguments: Mapping[str, Any]) -> dict[str, object]:
    chosen = {name: value for name, value in arguments.items() if value not in (None, ())}
    return {**chosen, "ids": list(arguments["ids"])} if arguments["ids"] else chosen


@dead.command("list")
@filters
@remote
def dead_list(api: Api, **arguments: Any) -> None:
    """List the dead letters that match, the oldest first."""
    chosen, left = _filter(arguments), int(arguments["limit"])
    if "ids" in chosen:
        chosen["ids"] = ",".join(arguments["ids"])
    while left > 0:
        chosen["limit"] = min(left, bulk.CALL_LIMIT)
        query = urllib.parse.urlencode(chosen)
        answer = api.call("GET", f"/v1/dead-letters?{query}")
        for letter in answer["dead_letters"]:
            lines = (int(a["reason"]) if a["outcome"] == "left_out" else 1 for a in letter["attempts"])
            tried = f"{sum(lines)} attempts"
            known = letter.get("idempotency_key") or "–"
            click.echo(f"{letter['id']}  {known:16} {letter['vendor']:12} {letter['reason']:24} {tried}")
        left -= len(answer["dead_letters"])
        chosen["cursor"] = answer["cursor"]
        if chosen["cursor"] is None:
            return


@dead.command("show")
@click.argument("notification_id")
@remote
def dead_show(api: Api, notification_id: str) -> None:
    """Show one dead letter with its history."""
    found = api.call("GET", f"/v1/dead-letters?ids={quoted(notification_id)}")["dead_letters"]
    if not found:
        raise ApiError(f"{notification_id}: is no dead letter")
    print_json(found[0])


def bulk_options(function: Function) -> Function:
    """Add the options of a command that can change all dead letters which match a filter."""
    for option in (
        click.option("--cursor", help="Go on where an interrupted --all stopped."),
        click.option("--dry-run", is_flag=True, help="Only count. Change nothing."),
        click.option("--yes", is_flag=True, help="Do not ask before --all begins."),
        click.option(
            "--all", "everything", is_flag=True, help="Process all letters that match. Count them first, and ask."
        ),
    ):
        function = option(function)
    return function


@dead.command("redrive")
@filters
@bulk_options
@click.option(
    "--todays-route", is_flag=True, help="Send through the vendors of the present route, not of the one at the accept."
)
@click.option(
    "--todays-template", is_flag=True, help="Send the present version of the template, not the one at the accept."
)
@remote
def dead_redrive(api: Api, **arguments: Any) -> None:
    """Send dead letters again: all that match the options.

    The redrive is slower while some vendor of a letter's chain gets no new work. It waits while no vendor of the chain
    gets new work.
    """
    _change(api, "redrive", **arguments)


@dead.command("discard")
@filters
@bulk_options
@remote
def dead_discard(api: Api, **arguments: Any) -> None:
    """Give up the dead letters that match. A discarded letter cannot be redriven."""
    _change(api, "discard", **arguments)


def _change(
    api: Api, verb: str, everything: bool, yes: bool, *, dry_run: bool, cursor: str | None, **arguments: Any
) -> None:
    body = _filter(arguments)
    if everything:
        bulk.change_all(lambda path, order: api.call("POST", path, order), verb, body, cursor, yes=yes, dry_run=dry_run)
    else:
        answer = api.call("POST", f"/v1/dead-letters/{verb}", {**body, "cursor": cursor, "dry_run": dry_run})
        print_json(answer)
        named = len(set(arguments["ids"]))
        if answer["matched"] < named and answer["cursor"] is None and cursor is None:
            which = "no id names a" if answer["matched"] == 0 else f"{named - answer['matched']} of {named} ids name no"
            raise ApiError(f"{which} dead letter of this key's tenant that matches")
        if answer["matched"] == 0 and answer["cursor"] is None:
            click.echo("no dead letter of this key's tenant matches", err=True)


@click.group()
def config() -> None:
    """Check and explain the configuration file."""


@config.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--secrets-elsewhere",
    is_flag=True,
    help="List references that cannot be resolved here, and do not count them as faults.",
)
def config_check(file: Path, secrets_elsewhere: bool) -> None:
    """Validate FILE and build everything it configures, without any connection. Each message names a field or a line.

    Run this command where the service runs, because missing secrets are faults too.
    """
    settings = load_settings(file)
    unchecked = prove(settings, secrets_elsewhere)
    for unresolved in unchecked:
        click.echo(f"not checked here: {unresolved}", err=True)
    if not any(line.startswith("tls.") for line in unchecked) and (pair := certificate_pair(settings)) is not None:
        for warning in pair.warnings:
            click.echo(f"WARNING: {warning}", err=True)
    click.echo(f"{file}: right; {len(settings.vendors)} vendors, {len(settings.events)} events")


@config.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of the configuration file, for editors. It covers the options of every installed
    provider.
    """
    print_json(settings_schema())


config.add_command(explain)
