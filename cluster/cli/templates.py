"""`dispatcher templates`: manages the stored templates, both the common templates and those of single tenants."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from typing import Any, TypeVar

import click

from cluster.cli.api import Api, print_json, quoted, read_json, remote

Function = TypeVar("Function", bound=Callable[..., Any])


@click.group()
def templates() -> None:
    """Put, get, list, preview and delete templates."""


def of_tenant(function: Function) -> Function:
    """Add the option `--tenant` to a command."""
    text = (
        "The tenant whose own templates are meant. Without it, the common templates are meant, "
        "or those of the key's tenant if the key lacks the scope operate."
    )
    return click.option("--tenant", help=text)(function)


def _path(name: str, tenant: str | None, **query: Any) -> str:
    found = {key: value for key, value in {"tenant": tenant, **query}.items() if value is not None}
    place, _, action = name.partition("/")
    path = f"/v1/templates/{quoted(place)}" + (f"/{action}" if action else "")
    return f"{path}?{urllib.parse.urlencode(found)}" if found else path


@templates.command("list")
@of_tenant
@remote
def templates_list(api: Api, tenant: str | None) -> None:
    """List the names and latest versions. A tenant's own template is used before a common template of the same name."""
    query = "" if tenant is None else f"?{urllib.parse.urlencode({'tenant': tenant})}"
    print_json(api.call("GET", f"/v1/templates{query}")["templates"])


@templates.command("get")
@click.argument("name")
@click.option("--version", type=int)
@of_tenant
@remote
def templates_get(api: Api, name: str, version: int | None, tenant: str | None) -> None:
    """Show one version of a template. The default is the latest version."""
    print_json(api.call("GET", _path(name, tenant, version=version)))


@templates.command("put")
@click.argument("name")
@click.argument("file", type=click.File("rb"))
@of_tenant
@remote
def templates_put(api: Api, name: str, file: Any, tenant: str | None) -> None:
    """Store FILE as the template's next version. FILE is JSON with the fields subject, text and html."""
    print_json(api.call("PUT", _path(name, tenant), read_json(file.read(), file.name)))


@templates.command("preview")
@click.argument("name")
@click.option("--data", default="{}", help="The variables, as a JSON object.")
@of_tenant
@remote
def templates_preview(api: Api, name: str, data: str, tenant: str | None) -> None:
    """Show the message that a template makes from `--data`. Nothing is sent."""
    print_json(api.call("POST", _path(f"{name}/preview", tenant), {"data": read_json(data, "--data")}))


@templates.command("delete")
@click.argument("name")
@of_tenant
@remote
def templates_delete(api: Api, name: str, tenant: str | None) -> None:
    """Delete a template, so that no new trigger uses it. Notifications accepted before are still sent."""
    print_json(api.call("DELETE", _path(name, tenant)))
