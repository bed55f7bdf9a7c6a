"""`dispatcher config explain`: shows which route a notification gets, and why."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from dispatcher.config.settings import RouteMatch, RouteSettings, Settings
from dispatcher.config.yaml_file import load_settings
from dispatcher.core.accepting.routing import Traffic, rank_routes
from dispatcher.core.life.choices import Channel, Priority


@click.command("explain")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--channel", type=click.Choice(get_args(Channel)), required=True)
@click.option("--event", default="", help="The name of the event.")
@click.option("--tenant", default="default", show_default=True, help="The tenant that posts.")
@click.option("--country", help="The country of the telephone number, such as DE. Without it, unknown.")
@click.option(
    "--priority", type=click.Choice(get_args(Priority)), help="The priority. Without it, that of the event, or normal."
)
def explain(*, file: Path, channel: str, event: str, tenant: str, country: str | None, priority: str | None) -> None:
    """Show which routes of FILE fit a notification. The first route shown is the one that is used."""
    settings = load_settings(file)
    definition = settings.events.get(event)
    chosen = priority or (definition.priority if definition else "normal")
    for line in explain_route(settings, Traffic(channel, event, tenant, country, chosen)):
        click.echo(line)


def explain_route(settings: Settings, traffic: Traffic) -> list[str]:
    """Return one line for each route that fits. The first line is the route that is used.

    If no route fits, the only line says that the notification is refused.
    """
    numbers = {id(route): index for index, route in enumerate(settings.routes)}
    lines: list[str] = []
    for route in rank_routes(settings.routes, traffic):
        use = "also fits" if lines else "used"
        lines.append(f"{use}: routes.{numbers[id(route)]} ({_match(route.match)}): {_vendors(route)}")
    return lines or [f"refused: no route carries {traffic.channel} for this notification (422)"]


def _match(match: RouteMatch) -> str:
    named = {name: ", ".join(values) for name, values in match.model_dump().items() if values}
    return "; ".join(f"{name} {values}" for name, values in named.items()) or "everything"


def _vendors(route: RouteSettings) -> str:
    """Return the route's vendors in their order. Vendors of a split come first, each with its share in percent."""
    total = sum(route.split.values())
    parts = [f"{name} {weight / total:.1%}" for name, weight in route.split.items()]
    rest = [name for name in route.chain if name not in route.split]
    return ", then ".join([*([" or ".join(parts)] if parts else []), *rest])
