"""The HTTP interface: a raw ASGI path for what is hot, FastAPI for what people ask.

`POST /v1/triggers` and `/batch` never enter FastAPI: reading, parsing and answering take tens of microseconds there.
The limits that decide (bytes, body deadline, depth) live here, because a client's header can switch Serve's own off.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from actors.intake import IntakeActor
from dispatcher.accept.intake import Accepted
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.wire.json import parse_json
from dispatcher.wire.responses import Problem
from serve_app.body_deadline import read_within
from serve_app.operations import operations

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_DEADLINE_S = 5.0
"""A body that drips in slower than this is answered 408: it holds a request slot of everybody."""

BATCH_SLICE = 20
"""Items of a batch validated without a pause: a batch must be nobody's p99."""

DEFAULT_TENANT = "default"


class ClientGoneError(Exception):
    """The client left while sending its body: nothing to answer."""


def application(actor: IntakeActor) -> Asgi:
    """The ASGI callable of one intake replica."""
    others = operations(actor)

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await others(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        if method == "POST" and path in ("/v1/triggers", "/v1/triggers/batch"):
            await _post(actor, scope, receive, send, batch=path.endswith("batch"))
            return
        if path.startswith("/v1/") and not path.startswith("/v1/receipts/"):  # vendors have tokens instead of our keys
            tenant = _tenant(actor, scope)
            if tenant is None:
                await _problem(send, _UNAUTHORISED)
                return
            scope.setdefault("state", {})["tenant"] = tenant
        await others(scope, receive, send)

    return asgi


async def _post(actor: IntakeActor, scope: Scope, receive: Receive, send: Send, *, batch: bool) -> None:
    try:
        tenant = _tenant(actor, scope)
        if tenant is None:
            await _problem(send, _UNAUTHORISED)
            return
        if not actor.templates.loaded:
            raise UnavailableError("starting: the store was not read yet")
        limits = actor.settings.limits
        size_max = limits.batch_bytes_max if batch else limits.body_bytes_max
        body = await read_within(_body(scope, receive, size_max), BODY_DEADLINE_S)
        parsed = parse_json(body, limits.json_depth_max)
        key = _header(scope, b"idempotency-key")
        if batch:
            items = await _accept_batch(actor, tenant, parsed, key)
            await _answer(send, 207, {"results": items})
        else:
            await _answer(send, 202, _accepted(await actor.intake.accept(tenant, parsed, key)))
    except CallerError as error:
        await _problem(send, Problem.of(error))
    except UnavailableError as error:
        await _problem(send, Problem.of(error), retry_after_s=error.retry_after_s)
    except asyncio.TimeoutError:
        await _problem(
            send, Problem(title="The body came too slowly", status=408, detail=f"within {BODY_DEADLINE_S:g} s, please")
        )
    except ClientGoneError:
        return


async def _accept_batch(actor: IntakeActor, tenant: str, parsed: Any, key: str | None) -> list[dict[str, Any]]:
    """Accept each item on its own; item results carry a status each. An item's key: its own, else header + hash."""
    if not isinstance(parsed, dict) or not isinstance(parsed.get("triggers"), list) or len(parsed) != 1:
        raise CallerError("body", 'must be {"triggers": [...]}')
    triggers = parsed["triggers"]
    most = actor.settings.limits.batch_items_max
    if not 1 <= len(triggers) <= most:
        raise CallerError("triggers", f"must hold 1 to {most} items")

    async def one(item: Any) -> dict[str, Any]:
        try:
            own = item.get("idempotency_key") if isinstance(item, dict) else None
            item_key = None if own is not None or key is None else f"{key[:200]}:{_item_hash(item)}"
            accepted = await actor.intake.accept(tenant, item, item_key)
            return {"status": 202, **_accepted(accepted)}
        except CallerError as error:
            return Problem.of(error).model_dump(exclude_none=True)
        except UnavailableError as error:
            return {**Problem.of(error).model_dump(exclude_none=True), "retry_after_s": error.retry_after_s}

    results: list[dict[str, Any]] = []
    for start in range(0, len(triggers), BATCH_SLICE):
        results += await asyncio.gather(*(one(item) for item in triggers[start : start + BATCH_SLICE]))
        await asyncio.sleep(0)
    return results


def _item_hash(item: Any) -> str:
    return hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()[:32]


async def _body(scope: Scope, receive: Receive, size_max: int) -> bytes:
    """The whole body, refused by its declared length first, then by counting."""
    encoding = _header(scope, b"content-encoding")
    if encoding and encoding.lower() != "identity":
        raise CallerError("Content-Encoding", "compressed bodies are not taken", 415)
    media = _header(scope, b"content-type")
    if media and media.split(";")[0].strip().lower() != "application/json":
        raise CallerError("Content-Type", "must be application/json", 415)
    declared = _header(scope, b"content-length")
    too_large = CallerError("body", f"must be at most {size_max} bytes", 413)
    if declared and declared.isdigit() and int(declared) > size_max:
        raise too_large
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        if size > size_max:
            raise too_large
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _tenant(actor: IntakeActor, scope: Scope) -> str | None:
    """The tenant of the request's API key; None: refused. Without any key configured (loopback only): the default."""
    if actor.keys is None or not actor.keys.required:
        return DEFAULT_TENANT
    return actor.keys.verify(_header(scope, b"authorization"))


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def _accepted(accepted: Accepted) -> dict[str, Any]:
    notifications: list[dict[str, str]] = [{"id": i, "channel": c, "vendor": v} for i, c, v in accepted.notifications]
    for shown in notifications:
        if shown["id"] in accepted.suppressed:
            shown["state"] = "suppressed"
    return {"id": accepted.id, "notifications": notifications, "replayed": accepted.replayed}


_UNAUTHORISED = Problem(
    title="An API key is needed", status=401, detail="Authorization: Bearer KEY; make one with `dispatcher key new`"
)


async def _problem(send: Send, problem: Problem, retry_after_s: float | None = None) -> None:
    headers = [] if retry_after_s is None else [(b"retry-after", str(max(1, round(retry_after_s))).encode())]
    await _answer(
        send, problem.status, problem.model_dump(exclude_none=True), b"application/problem+json", tuple(headers)
    )


async def _answer(
    send: Send,
    status: int,
    body: dict[str, Any],
    media: bytes = b"application/json",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    data = json.dumps(body, separators=(",", ":")).encode()
    length = str(len(data)).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", media), (b"content-length", length), *headers],
        }
    )
    await send({"type": "http.response.body", "body": data})
