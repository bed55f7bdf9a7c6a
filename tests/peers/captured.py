"""Sends a request of ours to a local socket and captures it, so that tests check exactly what a provider would read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from dispatcher.adapters.providers import PROVIDERS, build
from dispatcher.core.life.rendered_message import Message
from tests.contract.vendors import send


@dataclass
class Parameters:
    """The parameters of a request."""

    query: dict[str, str]
    header: dict[str, str]


@dataclass
class Captured:
    """One request in the form that openapi-core reads."""

    host_url: str
    path: str
    method: str
    parameters: Parameters
    content_type: str
    body: bytes


async def captured(adapter: str, message: Message, options: dict[str, Any], host_url: str) -> Captured:
    """Send the message through the adapter and return the request that reached the socket.

    In the result, `host_url` replaces the address of the socket.
    """
    seen: list[Captured] = []

    async def hear(request: web.BaseRequest) -> web.Response:
        parameters = Parameters(dict(request.query), dict(request.headers))
        body = await request.read()
        seen.append(Captured(host_url, request.path, request.method.lower(), parameters, request.content_type, body))
        return web.Response(status=500)

    runner = web.ServerRunner(web.Server(hear))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        await send(build(adapter, "v", PROVIDERS[adapter].channels[0], {**options, "base_url": base_url}), message)
    finally:
        await runner.cleanup()
    (request,) = seen
    return request
