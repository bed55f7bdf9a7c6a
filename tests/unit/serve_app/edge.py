"""The real HTTP application in process: memory store, real intake, keys of a file, and no server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from dispatcher.adapters.api_keys import ApiKeys
from dispatcher.core.life.receipt import ReceiptLinks
from dispatcher.operate.dead_letters import DeadLetters
from dispatcher.operate.receipts import Receipts
from dispatcher.templates.cache import TemplateCache
from serve_app.http import application
from tests.unit.desk import Desk

LINKS = ReceiptLinks("https://shop.example", "secret")
JSON = {"content-type": "application/json"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Edge:
    """One intake replica behind its HTTP application. Make it inside a virtual run."""

    def __init__(self, keys: Path | None = None, **settings: Any) -> None:
        self.desk = Desk(**settings)
        stage, intake = self.desk.stage, self.desk.intake
        templates = TemplateCache(stage.template_store)
        templates.loaded = True
        found = intake._settings
        self.actor = SimpleNamespace(
            settings=found,
            keys=None if keys is None else ApiKeys.load(keys),
            runtime={"installation": "0123456789abcdef"},
            metrics=stage.metrics,
            templates=templates,
            template_store=stage.template_store,
            views=stage.views,
            store=self.desk.store,
            control=SimpleNamespace(plan_history=self._plan_history, set_override=stage.control.set_override),
            intake=intake,
            dead_letters=DeadLetters(stage.views, found.vendors.__contains__, lambda: intake.plan, 100.0, 1.0),
            receipts=Receipts(LINKS, self.desk.store.withdraw, stage.views.trigger, stage.metrics),
            vendors=self._vendors,
            plan=lambda: {"epoch": 0},
            ready=lambda: None,
            health=lambda: {"status": "alive"},
            metrics_text=self._metrics_text,
        )
        self.app = application(self.actor)  # type: ignore[arg-type]

    async def _vendors(self) -> list[dict[str, Any]]:
        return [{"name": name} for name in self.actor.settings.vendors]

    async def _plan_history(self, limit: int) -> list[dict[str, Any]]:
        return []

    async def _metrics_text(self) -> bytes:
        return b""

    async def call(
        self,
        method: str,
        path: str,
        body: Any = b"",
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        receive: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    ) -> Answer:
        """Ask. A `body` that is no bytes goes out as JSON, declared as such unless `headers` says otherwise."""
        sent: list[dict[str, Any]] = []
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = list((headers if headers is not None else JSON).items()) if not isinstance(headers, list) else headers

        given_once = False

        async def whole() -> dict[str, Any]:
            nonlocal given_once
            if given_once:  # as a server does: nothing more comes while the client waits for its answer
                await asyncio.Event().wait()
            given_once = True
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        where, _, query = path.partition("?")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": where,
            "raw_path": where.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in given],
        }
        await self.app(scope, receive or whole, send)
        shown = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], shown, b"".join(part.get("body", b"") for part in sent[1:]))
