"""Receives every request. The two routes for new triggers are raw ASGI for speed. FastAPI (`routes`) serves the rest.

`POST /v1/triggers` and `/v1/triggers/batch` never reach FastAPI. Here, reading, parsing and answering take tens of
microseconds. For every request, `access_control` decides whether it is allowed, and `bodies` reads its body.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
from collections.abc import Collection, MutableMapping, Sequence
from typing import Any, TypedDict
from urllib.parse import parse_qsl

from dispatcher.accept.accepted import Accepted
from dispatcher.accept.intake import check_key
from dispatcher.adapters.api_keys import ApiKeys
from dispatcher.core.json_object import JsonObject
from dispatcher.errors import CallerError, LimitedError, UnavailableError
from dispatcher.operate.over_cells.missing_cells import HEADER as MISSING_CELLS
from dispatcher.operate.over_cells.missing_cells import collected
from dispatcher.operate.use_cases import Accepts, UseCases
from dispatcher.telemetry.metrics import Metrics
from dispatcher.wire.json import parse_json
from dispatcher.wire.problem_details import Problem
from dispatcher.wire.rate_limit import Fields, rate_limit_fields
from dispatcher.wire.trigger_responses import DryRunResponse
from serve_app.access_control import (
    DEFAULT_TENANT,
    OPERATE,
    WrongKeys,
    check_installation,
    check_neighbour,
    scope_needed,
)
from serve_app.bodies import (
    OTHER_BYTES_MAX,
    Asgi,
    ClientGoneError,
    Receive,
    Scope,
    Send,
    check_json,
    check_query,
    only_header,
    read_body,
    replay,
)
from serve_app.routes import routes

BATCH_SLICE = 20
"""The number of items of a batch that are handled together. Then other requests get their turn."""

HEADER_KEY_MAX = 200
"""The most characters of a header's key that the keys of a batch's items contain. A longer key is shortened by a hash.

A key has at most 255 characters, and 33 of an item's key are the colon and the item's hash.
"""

HOT = ("/v1/triggers", "/v1/triggers/batch")


def application(use_cases: UseCases, keys: ApiKeys | None, metrics: Metrics) -> Asgi:
    """Return the ASGI application of one intake replica.

    Calls need no key if `keys` is None, or if the file of `keys` has no key.
    """
    needed = keys if keys is not None and keys.required else None
    others = routes(use_cases, separate=needed is not None)
    wrong = WrongKeys(lambda: metrics.count("dispatcher_wrong_keys"))
    depth_max = use_cases.limits.json_depth_max

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await others(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        try:
            check_installation(scope, use_cases.probes.replica.installation)
            refused = await _admit(needed, wrong, scope)
            if refused is not None:
                await _problem(send, *refused)
            elif scope["method"] == "POST" and scope["path"] in HOT:
                await _post(use_cases, scope, receive, send, batch=scope["path"].endswith("batch"))
            else:
                body = await _bounded(depth_max, scope, receive)
                with collected() as missing:
                    await others(scope, body, _with_missing_cells(missing, send))
        except CallerError as error:
            await _problem(send, Problem.of(error))
        except UnavailableError as error:
            retry_after = str(max(1, math.ceil(error.retry_after_s))).encode()
            limit = rate_limit_fields(error.rate, error.quota) if isinstance(error, LimitedError) else ()
            await _problem(send, Problem.of(error), (b"retry-after", retry_after), *limit)
        except ClientGoneError:
            return

    return asgi


async def _admit(
    keys: ApiKeys | None, wrong: WrongKeys, scope: Scope
) -> tuple[Problem] | tuple[Problem, tuple[bytes, bytes]] | None:
    """Decide whether a request is allowed. Return None if it is, else the problem and perhaps a header for the answer.

    The request's tenant is stored in `scope`. With `keys` None no key is needed. Raises `CallerError`.
    """
    needed = scope_needed(scope["method"], scope["path"])
    if keys is None:
        check_neighbour(scope)
        scope.setdefault("state", {}).update(tenant=DEFAULT_TENANT, operator=True)
        return None
    if needed is None:
        return None
    given = only_header(scope, b"authorization")
    grant = keys.grant(given)
    if grant is None:
        if given is not None:
            await wrong.note()
        return _UNAUTHORISED, (b"www-authenticate", b'Bearer realm="dispatcher"')
    if needed not in grant.scopes:
        detail = f"this key needs the scope {needed}; see `dispatcher key list` and `dispatcher key new --scope`"
        challenge = f'Bearer realm="dispatcher", error="insufficient_scope", scope="{needed}"'
        problem = Problem(title="The key does not reach so far", status=403, detail=detail)
        return problem, (b"www-authenticate", challenge.encode())
    scope.setdefault("state", {}).update(tenant=grant.tenant, operator=OPERATE in grant.scopes)
    return None


async def _bounded(depth_max: int, scope: Scope, receive: Receive) -> Receive:
    """Read and check the body of a request for FastAPI. Return an ASGI `receive` function that returns this body.

    The body of a call-back may be a form, so it is not checked here. The provider's reader checks a call-back.
    """
    if scope["method"] in ("GET", "OPTIONS"):
        return replay(b"", receive)
    body = await read_body(scope, receive, OTHER_BYTES_MAX)
    if body and not scope["path"].startswith("/v1/receipts/"):
        check_json(scope)
        parse_json(body, depth_max)
    return replay(body, receive)


async def _post(use_cases: UseCases, scope: Scope, receive: Receive, send: Send, *, batch: bool) -> None:
    intake, limits, tenant = use_cases.intake, use_cases.limits, scope["state"]["tenant"]
    intake.check_started()
    check_query([name for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)])
    check_json(scope)
    body = await read_body(scope, receive, limits.batch_bytes_max if batch else limits.body_bytes_max)
    parsed = parse_json(body, limits.json_depth_max)
    key = idempotency_key(only_header(scope, b"idempotency-key"))
    if batch:
        items = await _accept_batch(intake, tenant, _batch(parsed, limits.batch_items_max), key)
        await _answer(send, 207, {"results": items})
    else:
        status, answer, fields = await _accept(intake, tenant, parsed, key)
        await _answer(send, status, answer, headers=fields)


async def _accept(intake: Accepts, tenant: str, parsed: Any, key: str | None) -> tuple[int, JsonObject, Fields]:
    """Accept a trigger and return the status, the answer and header fields.

    With `dry_run` nothing is accepted, and the answer says what the trigger would become.
    """
    if isinstance(parsed, dict) and parsed.get("dry_run") is True:
        return 200, DryRunResponse.of(await intake.dry_run(tenant, parsed, key)).model_dump(mode="json"), ()
    done = await intake.accept(tenant, parsed, key)
    told = () if done.rate is None or done.quota is None else rate_limit_fields(done.rate, done.quota)
    return 202, _accepted(done), told


def idempotency_key(value: str | None) -> str | None:
    """Return the key in an Idempotency-Key header.

    A quoted key, as the IETF draft requires, equals the same key unquoted.

    Raises `CallerError` (400) if a quote is not closed, or a quote inside the key is not escaped.
    """
    if value is None or not value.startswith('"'):
        return value
    found = _QUOTED.fullmatch(value)
    if found is None:
        raise CallerError("Idempotency-Key", "must be a quoted string, or a text that does not begin with a quote", 400)
    return _ESCAPED.sub(r"\1", found[1])


_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_ESCAPED = re.compile(r'\\(["\\])')


def _batch(parsed: Any, most: int) -> list[Any]:
    """Return the items of a batch. Raises `CallerError` if `parsed` is not a batch of 1 to `most` items."""
    if not isinstance(parsed, dict) or not isinstance(parsed.get("triggers"), list) or len(parsed) != 1:
        raise CallerError("body", 'must be {"triggers": [...]}')
    triggers: list[Any] = parsed["triggers"]
    if not 1 <= len(triggers) <= most:
        raise CallerError("triggers", f"must have 1 to {most} items")
    return triggers


async def _accept_batch(intake: Accepts, tenant: str, triggers: Sequence[Any], key: str | None) -> list[JsonObject]:
    """Accept each item separately. Return a result with a status for each item, in the order of the items.

    If an item has no idempotency key, its key is made from the header's key and the item's content. Raises
    `CallerError` (400) if the header's key is none.
    """
    if key is not None:
        check_key(key)
    whole = key if key is None or len(key) <= HEADER_KEY_MAX else f"{key[: HEADER_KEY_MAX - 33]}~{_short_hash(key)}"

    async def one(item: Any) -> JsonObject:
        try:
            own = item.get("idempotency_key") if isinstance(item, dict) else None
            item_key = None if own is not None or whole is None else f"{whole}:{_short_hash(item)}"
            status, answer, _ = await _accept(intake, tenant, item, item_key)
            return {"status": status, **answer}
        except CallerError as error:
            return Problem.of(error).shown()
        except UnavailableError as error:
            return {**Problem.of(error).shown(), "retry_after_s": error.retry_after_s}

    results: list[JsonObject] = []
    for start in range(0, len(triggers), BATCH_SLICE):
        results += await asyncio.gather(*(one(item) for item in triggers[start : start + BATCH_SLICE]))
        await asyncio.sleep(0)
    return results


def _short_hash(item: Any) -> str:
    return hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()[:32]


class ShownNotification(TypedDict, total=False):
    """A notification in the answer to an accepted trigger. A field that does not apply is missing."""

    id: str
    channel: str
    vendor: str
    state: str
    fallback_for: str
    recipient: int


def _accepted(accepted: Accepted) -> JsonObject:
    notifications: list[ShownNotification] = [
        {"id": i, "channel": c, "vendor": v} for i, c, v in accepted.notifications
    ]
    for shown in notifications:
        if shown["id"] in accepted.suppressed:
            shown["state"] = "suppressed"
        if shown["id"] in accepted.fallbacks:
            shown["fallback_for"] = accepted.fallbacks[shown["id"]]
    for shown, recipient in zip(notifications, accepted.recipients, strict=False):  # only if there are several
        shown["recipient"] = recipient
    return {"id": accepted.id, "notifications": notifications, "replayed": accepted.replayed}


_UNAUTHORISED = Problem(
    title="An API key is needed",
    status=401,
    detail="Authorization: Bearer KEY, with a key that is valid now; `dispatcher key new` makes one",
)


async def _problem(send: Send, problem: Problem, *headers: tuple[bytes, bytes]) -> None:
    await _answer(send, problem.status, problem.shown(), b"application/problem+json", headers=headers)


def _without_body(send: Send) -> Send:
    """Return a `send` function that drops the body, so that HEAD is answered with the headers of GET."""

    async def headers_only(message: MutableMapping[str, Any]) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return headers_only


def _with_missing_cells(missing: Collection[str], send: Send) -> Send:
    """Return a `send` function that adds a header with the cells that are missing in the answer, if there are any."""

    async def told(message: MutableMapping[str, Any]) -> None:
        if missing and message["type"] == "http.response.start":
            header = (MISSING_CELLS.encode(), ",".join(sorted(missing)).encode())
            message = {**message, "headers": [*message["headers"], header]}
        await send(message)

    return told


async def _answer(
    send: Send,
    status: int,
    body: JsonObject,
    media: bytes = b"application/json",
    *,
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
