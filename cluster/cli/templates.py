"""`dispatcher templates`: the stored templates, common ones and those of tenants."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from typing import Any, TypeVar

import click

from cluster.cli.api import Api, print_json, quoted, read_json, remote

Function = TypeVar("Function", bound=Callable[..., Any])


@click.group()
def templates() -> None:
    """Templates: put, get, list, preview, delete."""


def of_tenant(function: Function) -> Function:
    """Add the option that names a tenant."""
    text = "its own templates; without it the common ones, or with a key that may not operate those of the key's tenant"
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
    """Names and latest versions. A tenant's own templates go before the common ones of the same name."""
    query = "" if tenant is None else f"?{urllib.parse.urlencode({'tenant': tenant})}"
    print_json(api.call("GET", f"/v1/templates{query}")["templates"])


@templates.command("get")
@click.argument("name")
@click.option("--version", type=int)
@of_tenant
@remote
def templates_get(api: Api, name: str, version: int | None, tenant: str | None) -> None:
    """One version of a template, the latest unless named."""
    print_json(api.call("GET", _path(name, tenant, version=version)))


@templates.command("put")
@click.argument("name")
@click.argument("file", type=click.File("rb"))
@of_tenant
@remote
def templates_put(api: Api, name: str, file: Any, tenant: str | None) -> None:
    """Store FILE (JSON: subject, text, html) as the next version."""
    print_json(api.call("PUT", _path(name, tenant), read_json(file.read(), file.name)))


@templates.command("preview")
@click.argument("name")
@click.option("--data", default="{}", help="JSON object")
@of_tenant
@remote
def templates_preview(api: Api, name: str, data: str, tenant: str | None) -> None:
    """Show the message that a template makes of `--data`, and send nothing."""
    print_json(api.call("POST", _path(f"{name}/preview", tenant), {"data": read_json(data, "--data")}))


@templates.command("delete")
@click.argument("name")
@of_tenant
@remote
def templates_delete(api: Api, name: str, tenant: str | None) -> None:
    """Delete a template for triggers to come. What was accepted before is still sent."""
    print_json(api.call("DELETE", _path(name, tenant)))
