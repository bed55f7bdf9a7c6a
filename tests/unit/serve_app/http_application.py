"""The real HTTP application in this process, with the memory store, a real intake and keys from a file.

No server runs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from actors.assembly import receipt_readers
from dispatcher.adapters.api_keys import ApiKeys
from dispatcher.adapters.memory.listings import MemoryListings
from dispatcher.core.life.receipt import ReceiptLinks
from dispatcher.core.store.continuity import Continuity
from dispatcher.operate.dead_letters import DeadLetters
from dispatcher.operate.fleet import Fleet
from dispatcher.operate.listener_certificate import ListenerCertificate
from dispatcher.operate.listings import Listings
from dispatcher.operate.probes import Replica
from dispatcher.operate.receipts import Receipts
from dispatcher.operate.templates import Templates
from dispatcher.operate.triggers import Triggers
from dispatcher.operate.use_cases import UseCases
from dispatcher.operate.vendors import Vendors
from dispatcher.templates.owned import TemplateQuota
from serve_app.asgi import application
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
    """One intake replica behind its HTTP application.

    It must be made in a test marked `@virtual`, because it needs that event loop.
    """

    def __init__(self, keys: Path | None = None, **settings: Any) -> None:
        self.desk = Desk(**settings)
        stage, intake = self.desk.stage, self.desk.intake
        intake._templates.loaded = True
        found, clock = intake._settings, stage.clock
        fleet = Fleet(clock, Continuity())
        readers = receipt_readers(found)
        probes: Any = SimpleNamespace(
            health=lambda certificate: {"status": "alive", "certificate": certificate and certificate.ends_s},
            not_ready=lambda: None,
            metrics_text=self._metrics_text,
            replica=Replica("", installation="0123456789abcdef"),
        )
        self.use_cases = UseCases(
            intake=intake,
            triggers=Triggers(stage.views, self.desk.store),
            vendors=Vendors(found.vendors, stage.control, fleet, lambda: intake.plan, clock=clock),
            dead_letters=DeadLetters(
                stage.views, found.vendors.__contains__, lambda: intake.plan, per_s=100.0, slow_per_s=1.0
            ),
            listings=Listings(MemoryListings(stage.cell)),
            templates=Templates(intake._templates, stage.template_store, TemplateQuota(2, 10_000), {"from-file"}),
            probes=probes,
            receipts=Receipts(LINKS, self.desk.store, stage.views, stage.metrics, readers=readers),
            limits=found.limits,
        )
        self.app = application(self.use_cases, None if keys is None else ApiKeys.load(keys), stage.metrics)

    async def _metrics_text(self, certificate: ListenerCertificate | None) -> bytes:
        return b"" if certificate is None else b"%d" % certificate.ends_s

    async def call(
        self,
        method: str,
        path: str,
        body: Any = b"",
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        *,
        receive: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    ) -> Answer:
        """Send a request and return the answer.

        A `body` that is not bytes is sent as JSON. The content type is JSON unless `headers` are given. `receive`
        replaces the body with an ASGI receive function.
        """
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
