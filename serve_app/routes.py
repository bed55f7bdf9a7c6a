"""The routes that FastAPI serves. The routes for dead letters, notifications and templates have files of their own."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Route

from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.trigger_view import NotificationView, TriggerView
from dispatcher.core.plan.values import Override
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate.listener_certificate import HEADER, read_header
from dispatcher.operate.over_cells.probes import ProbesOverCells
from dispatcher.operate.over_cells.receipts import ReceiptsOverCells
from dispatcher.operate.over_cells.triggers import TriggersOverCells
from dispatcher.operate.over_cells.vendors import VendorsOverCells
from dispatcher.operate.probes import Probes
from dispatcher.operate.receipts import Receipts
from dispatcher.operate.triggers import Triggers
from dispatcher.operate.use_cases import UseCases
from dispatcher.operate.vendors import Vendors, VendorView
from dispatcher.version import VERSION
from dispatcher.wire.moments import moment
from dispatcher.wire.problem_details import TITLES, Problem
from dispatcher.wire.trigger import HeaderText, TriggerRequest
from dispatcher.wire.trigger_responses import AcceptedResponse, DryRunResponse
from serve_app.access_control import tenant_of
from serve_app.bodies import check_query
from serve_app.dead_letter_routes import add_dead_letter_routes
from serve_app.description import describe
from serve_app.notification_routes import add_notification_routes, shown_attempt
from serve_app.template_routes import add_template_routes

Limit = Annotated[int, Field(ge=1, le=1_000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class OverrideBody(_Body):
    state: Literal["open", "close", "auto"]
    why: HeaderText = Field(default="", max_length=200)
    who: HeaderText = Field(default="", max_length=100)
    for_s: int | None = Field(default=None, ge=1, le=604_800)


def routes(use_cases: UseCases, *, separate: bool) -> FastAPI:
    """Return the FastAPI application of one intake replica. `asgi` serves the two POST routes for triggers itself.

    With `separate`, each tenant sees only its own dead letters and notifications.
    """
    app = FastAPIOffline(  # /docs with its script and style from the package, not from a CDN
        title="Resilient dispatcher",
        version=VERSION,
        docs_url="/docs",
        redoc_url=None,
        redirect_slashes=False,
        swagger_ui_parameters={"validatorUrl": None},
        dependencies=[Depends(known_query)],
    )
    _errors(app)
    _document_hot_paths(app)
    _triggers(app, use_cases.triggers)
    _vendors(app, use_cases.vendors)
    _receipts(app, use_cases.receipts)
    add_dead_letter_routes(app, use_cases.dead_letters, separate=separate)
    add_notification_routes(app, use_cases.listings, separate=separate)
    add_template_routes(app, use_cases.templates)
    _probes(app, use_cases.probes)
    describe(app)
    return app


async def known_query(request: Request) -> None:
    """Raise `CallerError` (422) for a query parameter that the route does not have, or that is given twice.

    A provider may add parameters of its own to a call-back.
    """
    path = request.scope["path"]
    if not path.startswith("/v1/") or path.startswith("/v1/receipts/"):
        return
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    check_query([name for name, _ in request.query_params.multi_items()], known)


def _errors(app: FastAPI) -> None:
    def shown(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
        body = problem.model_dump(exclude_none=True)
        return JSONResponse(body, problem.status, headers, media_type="application/problem+json")

    @app.exception_handler(CallerError)
    async def caller(_: Request, error: CallerError) -> JSONResponse:
        return shown(Problem.of(error))

    @app.exception_handler(UnavailableError)
    async def unavailable(_: Request, error: UnavailableError) -> JSONResponse:
        return shown(Problem.of(error), {"retry-after": str(max(1, math.ceil(error.retry_after_s)))})

    @app.exception_handler(StarletteHTTPException)
    async def not_served(request: Request, error: StarletteHTTPException) -> JSONResponse:
        """Answer a request whose path or method does not exist."""
        allowed = _methods(app, request)
        status = 405 if error.status_code == 404 and allowed else error.status_code
        detail = {404: "there is no such path", 405: f"allowed: {allowed}"}.get(status, str(error.detail))
        problem = Problem(title=TITLES.get(status, "The request is refused"), status=status, detail=detail)
        return shown(problem, {"allow": allowed or "GET, HEAD"} if status == 405 else None)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path")) or "body"
        return shown(
            Problem(title="The request is not valid", status=422, detail=f"{field}: {first['msg']}", field=field)
        )


def _methods(app: FastAPI, request: Request) -> str:
    """Return the allowed methods of the request's path for an Allow header.

    The text is empty if no route has this path.
    """
    path = request.scope["path"]
    matching = [route for route in app.routes if isinstance(route, Route) and route.path_regex.match(path)]
    exact = [route for route in matching if route.path == path]  # "/v1/triggers/batch" is no trigger's id
    found = {method for route in exact or matching for method in route.methods or ()}
    return ", ".join(sorted(found | ({"HEAD"} if "GET" in found else set())))


def _document_hot_paths(app: FastAPI) -> None:
    tried: dict[int | str, JsonObject] = {
        200: {"model": DryRunResponse, "description": "With `dry_run`: what would be sent; nothing was stored"}
    }

    @app.post("/v1/triggers", status_code=202, responses=tried)
    async def post_trigger(body: TriggerRequest) -> AcceptedResponse:
        """Accept a trigger. The answer 202 means that all its notifications are on disk.

        Give an idempotency key in the header `Idempotency-Key` or in the body. A notification is `suppressed` and not
        sent if its recipient has got enough messages (`limits.recipient_caps`). With `dry_run` nothing is stored, and
        no idempotency key or limit is used up. The answer is then 200 with the route, the time and the text of each
        message.
        """
        raise AssertionError("served by serve_app.asgi")

    @app.post("/v1/triggers/batch", status_code=207)
    async def post_batch(body: dict[Literal["triggers"], list[TriggerRequest]]) -> JsonObject:
        """Accept up to 1,000 triggers. `results` has a status for each trigger, in the same order."""
        raise AssertionError("served by serve_app.asgi")


def _triggers(app: FastAPI, triggers: Triggers | TriggersOverCells) -> None:
    @app.get("/v1/triggers/{tid}")
    async def get_trigger(request: Request, tid: str) -> JsonObject:
        """Return a trigger and its notifications, each with its state and all attempts."""
        return _shown_trigger(await triggers.find(tenant_of(request.scope), tid))

    @app.get("/v1/triggers")
    async def find_by_key(request: Request, idempotency_key: str) -> JsonObject:
        """Return the trigger that was posted with this idempotency key."""
        return _shown_trigger(await triggers.find_by_key(tenant_of(request.scope), idempotency_key))

    @app.post("/v1/triggers/{tid}/cancel")
    async def cancel(request: Request, tid: str) -> JsonObject:
        """Cancel the notifications that nobody has claimed yet. The result for a claimed notification is `too late`.

        The result for a notification that has ended is its state.
        """
        return {
            "id": tid,
            "notifications": [asdict(one) for one in await triggers.cancel(tenant_of(request.scope), tid)],
        }


def _vendors(app: FastAPI, vendors: Vendors | VendorsOverCells) -> None:
    @app.get("/v1/vendors")
    async def listing() -> JsonObject:
        return {"vendors": [_shown_vendor(view) for view in await vendors.all()]}

    @app.get("/v1/vendors/{name}")
    async def vendor(name: str) -> JsonObject:
        return _shown_vendor(await vendors.one(name))

    @app.post("/v1/vendors/{name}/override")
    async def override(name: str, body: OverrideBody) -> JsonObject:
        """Override the state of a vendor's breaker.

        `open` sends nothing to the vendor. `close` sends, whatever the breaker says. `auto` lets the breaker decide
        again.
        """
        kept = await vendors.override(Override(name, body.state, body.who, body.why), body.for_s)
        return {"vendor": name, "state": kept.state, "until_ms": kept.until_ms}

    @app.get("/v1/plan")
    async def plan(limit: Limit = 100) -> JsonObject:
        """Return the current plan, and earlier plans, newest first, each with its reason.

        With several cells, `plan` is that of cell 0, `plans` has those of all cells, and `history` names each `cell`.
        """
        shown: JsonObject = {"plan": vendors.plan().to_dict(), "history": await vendors.plan_history(limit)}
        plans = {cell: plan.to_dict() for cell, plan in vendors.plans().items()}
        return {**shown, "plans": plans} if plans else shown


def _receipts(app: FastAPI, receipts: Receipts | ReceiptsOverCells | None) -> None:
    @app.get("/v1/receipts/{vendor}")
    @app.post("/v1/receipts/{vendor}")
    async def call_back(request: Request, vendor: str) -> JsonObject:
        """Receive a vendor's call-back about messages.

        No API key is needed. The call-back must contain the token that was sent with the message.
        """
        if receipts is None:
            raise CallerError("vendor", "is not a vendor that may send receipts here", 404)
        return {"results": await receipts.call_back(vendor, request.query_params, await request.body())}


def _probes(app: FastAPI, probes: Probes | ProbesOverCells) -> None:
    @app.get("/healthz")
    async def healthz(request: Request) -> JsonObject:
        """Answer 200 if the process is alive, and say how it runs."""
        return probes.health(read_header(request.headers.get(HEADER)))

    @app.get("/readyz")
    async def readyz() -> Response:
        """Answer 200 if a trigger posted now would be stored.

        The field `installation` names the installation that answers.
        """
        why = probes.not_ready()
        if why is None:
            return JSONResponse({"status": "ready", "installation": probes.replica.installation})
        return JSONResponse({"status": "not ready", "reason": why}, 503, {"retry-after": "1"})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        certificate = read_header(request.headers.get(HEADER))
        return Response(await probes.metrics_text(certificate), media_type="text/plain; version=0.0.4")


def _shown_vendor(view: VendorView) -> JsonObject:
    shown = {**asdict(view), **moment("next_try", view.next_try_ms)}
    shown["held"], shown["takes_new"] = shown.pop("undrained"), shown.pop("accepts_new")  # older names of the API
    return shown


def _shown_trigger(view: TriggerView) -> JsonObject:
    return {
        "id": view.id,
        "event": view.event,
        "idempotency_key": view.idempotency_key,
        "recipient_id": view.recipient_id,
        **moment("accepted", view.accepted_ms),
        **moment("expires", view.expires_ms),
        "notifications": [_shown_notification(n) for n in view.notifications],
    }


def _shown_notification(n: NotificationView) -> JsonObject:
    return {**asdict(n), **moment("until", n.until_ms), "attempts": [shown_attempt(attempt) for attempt in n.attempts]}
