"""The sandbox's HTTP side: vendors under `/{vendor}/…`, control under `/_sandbox`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import aiohttp
from aiohttp import web

from cluster.sandbox.dialects import Dialect, Reply, find
from cluster.sandbox.ledger import Fault, FaultError, Ledger, Vendor

HANG_S = 3600.0


class HttpSandbox:
    """Handles every request of the one server."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._telling: set[asyncio.Task[None]] = set()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith("/_sandbox"):
            return await self._control(request)
        found = find(request.path)
        if found is None or request.method not in ("GET", "POST"):
            return _json({"error": "no provider speaks on this path"}, 404)
        if request.method == "GET":  # well at all times: faults befall those who send
            vendor = self._ledger.vendor(found[0])
            return _reply(found[1].listing(request.headers, request.query, vendor.deliveries))
        return await self._vendor_call(request, self._ledger.vendor(found[0]), found[1])

    async def _vendor_call(self, request: web.BaseRequest, vendor: Vendor, dialect: Dialect) -> web.StreamResponse:
        body = await request.read()
        asked = dialect.read(request.headers, body)
        if asked.error is not None:
            vendor.note("invalid")
            return _reply(asked.error)
        fault = vendor.fault
        mode = fault.now()
        if mode in ("none", "slow"):
            await asyncio.sleep((fault.latency_ms if mode == "slow" else self._latency_ms(fault)) / 1000)
            reply, message_id = dialect.accepted()
            vendor.deliver(asked.to, asked.text, message_id, asked.subject, asked.sender)
            if asked.receipt_url is not None:
                task = asyncio.ensure_future(_tell(asked.receipt_url, dialect.receipt(message_id)))
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)
            return _reply(reply)
        vendor.note(mode)
        if fault.received:
            vendor.take(asked.to, asked.text, dialect.accepted()[1], asked.subject, asked.sender)
        return await self._misbehave(request, mode, fault, dialect)

    def _latency_ms(self, fault: Fault) -> float:
        return self._ledger.latency_ms if fault.mode == "slow" else fault.latency_ms

    async def _misbehave(
        self, request: web.BaseRequest, mode: str, fault: Fault, dialect: Dialect
    ) -> web.StreamResponse:
        if mode == "hang":
            await asyncio.sleep(HANG_S)
        if mode == "reset":
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if mode == "drip":
            return await _drip(request)
        if mode == "garbage":
            return web.Response(text="<html><body>It works!</body></html>", content_type="text/html")
        if mode == "throttle":
            return _reply(dialect.throttled(fault.retry_after_s))
        return _reply(dialect.rejected() if mode == "reject" else dialect.broken())

    async def _control(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")[1:]
        match (request.method, parts):
            case ("GET", []):
                return _json({"vendors": [vendor.summary() for vendor in self._ledger.all()]})
            case ("DELETE", []):
                self._ledger.reset()
                return _json({"reset": True})
            case ("GET", [name, "received"]):
                return _json(self._ledger.vendor(name).summary(full=request.query.get("full") == "1"))
            case ("PUT", [name, "fault"]):
                try:
                    fault = Fault.parse(await request.json(), self._ledger.latency_ms)
                except FaultError as error:
                    return _json({"error": str(error)}, 422)
                except ValueError:
                    return _json({"error": "body: is not JSON"}, 400)
                self._ledger.vendor(name).set_fault(fault)
                return _json({"vendor": name, "mode": fault.mode})
        return _json({"error": "no such control"}, 404)


async def _tell(url: str, form: dict[str, str]) -> None:
    """One call-back, once: who does not answer does not get it again."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
            await session.post(url, data=form)


async def _drip(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):  # the client gave up, as it should
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.1)
    return response


def _reply(reply: Reply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers={**reply.headers, "Content-Type": reply.media})


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")
