"""The routes for common templates and for tenants' own templates."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.sms_text import measure
from dispatcher.errors import CallerError
from dispatcher.operate.over_cells.templates import TemplatesOverCells
from dispatcher.operate.templates import Templates
from dispatcher.templates.source import TemplateSource
from serve_app.access_control import tenant_of

Version = Annotated[int, Field(ge=0, lt=2**53)]
Tenant = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=255,
        description="Whose template. Without it, your own tenant's, or for an operator the common one.",
    ),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TemplateBody(_Body):
    subject: str | None = None
    text: str
    html: str | None = None


class PreviewBody(_Body):
    data: JsonObject = Field(default_factory=dict)
    locale: str | None = None
    version: Version | None = None


def owner(request: Request, named: str | None) -> str | None:
    """Return the tenant whose templates a request is about, or None for the common templates.

    A key with the scope `operate` may name any tenant in the request. If it names none, the common templates are meant.
    Any other key stands for its own tenant. Raises `CallerError` (403) if such a key names another tenant.
    """
    if request.scope.get("state", {}).get("operator"):
        return named
    own = tenant_of(request.scope)
    if named not in (None, own):
        raise CallerError(
            "tenant", "must be the tenant of this key; for another tenant a key needs the scope operate", 403
        )
    return own


def add_template_routes(app: FastAPI, templates: Templates | TemplatesOverCells) -> None:
    """Add the routes for templates."""

    @app.get("/v1/templates")
    async def listing(request: Request, tenant: Tenant = None) -> JsonObject:
        """List the latest version of each template that the tenant can use. `own` names the tenant's own templates."""
        found, own = templates.listing(owner(request, tenant))
        return {"templates": found, "own": own}

    @app.get("/v1/templates/{name}")
    async def get(request: Request, name: str, version: Version | None = None, tenant: Tenant = None) -> JsonObject:
        """Return a version of a template.

        If the tenant has a template of its own with this name, that template is returned.

        Otherwise the common template is returned. Without `version` the latest version is returned.
        """
        return _shown(await templates.source(owner(request, tenant), name, version))

    @app.put("/v1/templates/{name}")
    async def put(request: Request, name: str, body: TemplateBody, tenant: Tenant = None) -> JsonObject:
        """Store a new version of a template. Nothing changes if the latest version has the same content.

        Triggers accepted more than 1 s later use the new version. With the scope `operate` the template is common, or
        belongs to `tenant` if `tenant` is given. With any other key the template belongs to the key's own tenant. A
        template that does not compile is refused.
        """
        whose = owner(request, tenant)
        version = await templates.put(whose, TemplateSource(name, body.text, body.subject, body.html))
        return {"name": name, "tenant": whose, "version": version}

    @app.delete("/v1/templates/{name}")
    async def delete(request: Request, name: str, tenant: Tenant = None) -> JsonObject:
        """Delete a template. New triggers cannot use it; triggers accepted before are still sent with it."""
        whose = owner(request, tenant)
        await templates.delete(whose, name)
        return {"name": name, "tenant": whose, "deleted": True}

    _add_preview(app, templates)


def _add_preview(app: FastAPI, templates: Templates | TemplatesOverCells) -> None:
    @app.post("/v1/templates/{name}/preview")
    async def preview(request: Request, name: str, body: PreviewBody, tenant: Tenant = None) -> JsonObject:
        """Return the message that the template makes of `data`. Nothing is sent."""
        source = await templates.source(owner(request, tenant), name, body.version)
        rendered = await templates.rendered(source, body.data, body.locale)
        size = asdict(measure(rendered.text))  # also with a subject, because an event may send the text by SMS too
        return {"subject": rendered.subject, "text": rendered.text, "html": rendered.html, "sms": size}


def _shown(source: TemplateSource) -> JsonObject:
    return {**source.to_dict(), "name": source.plain_name, "tenant": source.owner}
