"""Adds to `/openapi.json` what FastAPI does not know: API keys, the answers of `asgi`, the Idempotency-Key header.

Each status that a client can get is described. An error has the form of problem details. `make test-peers` sends
requests and compares the real answers with the description. It fails if the description lacks an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict, cast

from fastapi import FastAPI

from dispatcher.core.json_object import JsonObject
from dispatcher.wire.problem_details import TITLES, Problem
from serve_app.access_control import scope_needed

METHODS = ("get", "put", "post", "delete", "patch")
EVERYWHERE = (400, 403, 421)
"""Statuses that every route can answer: a header given twice (400), a foreign origin (403), a foreign host (421).

403 and 421 are answered only while no key is needed.
"""

WITH_A_SCOPE = (401, 404, 429, 503)
"""Further statuses of routes that need a key.

They mean: no key (401), not found (404), too many wrong keys (429), no store (503).
"""

WITH_A_BODY = (408, 409, 413, 415)
UNNAMED = {401: "An API key is needed", 503: "Not now: repeat with the same idempotency key after Retry-After"}

KEY_LENGTH_MAX = 255
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A repeat with the same key and body gets the same answer, and nothing is sent twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX},
}


class Operation(TypedDict, total=False):
    """Those parts of an operation in an OpenAPI description that this module adds or changes."""

    description: str
    parameters: list[JsonObject]
    responses: dict[str, JsonObject]
    security: list[dict[str, list[str]]]


class Components(TypedDict, total=False):
    """The parts that operations of an OpenAPI description share."""

    schemas: dict[str, JsonObject]
    securitySchemes: dict[str, JsonObject]


class Description(TypedDict, total=False):
    """The parts of FastAPI's OpenAPI description to which this module adds something."""

    components: Components
    paths: dict[str, dict[str, Operation]]


def describe(app: FastAPI) -> None:
    """Make `app` complete its own OpenAPI description."""
    written = app.openapi

    def whole() -> JsonObject:
        if app.openapi_schema is None:
            _complete(cast(Description, written()))
        return written()

    app.openapi = whole  # type: ignore[method-assign]


def _complete(description: Description) -> None:
    components = description.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, method, operation in _operations(description):
        scope = scope_needed(method.upper(), path)
        if scope is not None:  # `{}` means no key, as on a service on loopback
            operation["security"] = [{"key": []}, {}]
            operation["description"] = f"{operation.get('description', '')}\n\nA key needs the scope `{scope}`.".strip()
        if path in ("/v1/triggers", "/v1/triggers/batch") and method == "post":
            operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
        for status in _problems(path, method, operation, scope):
            operation["responses"][str(status)] = _problem(status)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _operations(description: Description) -> Iterator[tuple[str, str, Operation]]:
    for path, methods in description["paths"].items():
        for method in METHODS:
            if method in methods:
                yield path, method, methods[method]


def _problems(path: str, method: str, operation: Operation, scope: str | None) -> list[int]:
    found = set(EVERYWHERE)
    if path.startswith("/v1/"):
        found |= {404, 503}
    if scope is not None:
        found |= set(WITH_A_SCOPE)
    if method != "get":
        found |= set(WITH_A_BODY)
    if "422" in operation["responses"] or method != "get":
        found.add(422)
    if path in ("/readyz", "/metrics"):
        found.add(503)
    return sorted(found)


def _problem(status: int) -> JsonObject:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": TITLES.get(status) or UNNAMED[status], "content": content}
