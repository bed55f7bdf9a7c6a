"""Defines the benchmark's job for taskiq on a Redis stream.

The command of the worker is `taskiq worker benchmarks.peers.taskiq_app:broker`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from taskiq import TaskiqEvents
from taskiq_redis import RedisStreamBroker

from benchmarks.peers import job
from dispatcher.core.json_object import JsonObject

broker = RedisStreamBroker(url=f"unix://{job.socket()}")
_session: aiohttp.ClientSession | None = None


@broker.on_event(TaskiqEvents.WORKER_STARTUP)  # type: ignore[untyped-decorator]
async def start(_: Any) -> None:
    global _session
    _session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=job.TIMEOUT_S))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)  # type: ignore[untyped-decorator]
async def stop(_: Any) -> None:
    if _session is not None:
        await _session.close()


@broker.task(task_name="send")  # type: ignore[untyped-decorator]
async def send(to: str, data: JsonObject) -> None:
    assert _session is not None
    async with _session.post(job.url(), data=job.body(to, data), headers=job.HEADERS) as answer:
        job.check(answer.status, await answer.read())


def fill(count: int) -> None:
    async def run() -> None:
        await broker.startup()
        for to, data in job.messages(count):
            await send.kiq(to, data)
        await broker.shutdown()

    asyncio.run(run())
