"""Defines the benchmark's job for arq. The command of the worker is `arq benchmarks.peers.arq_app.WorkerSettings`."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import uvloop
from arq import create_pool
from arq.connections import RedisSettings

from benchmarks.peers import job

# taskiq, our vendor actor and the floor use uvloop too. arq needs an existing loop, and uvloop makes none by itself.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
asyncio.set_event_loop(asyncio.new_event_loop())
REDIS = RedisSettings(unix_socket_path=job.socket())


async def send(ctx: dict[str, Any], to: str, data: dict[str, object]) -> None:
    session: aiohttp.ClientSession = ctx["session"]
    async with session.post(job.url(), data=job.body(to, data), headers=job.HEADERS) as answer:
        job.check(answer.status, await answer.read())


async def startup(ctx: dict[str, Any]) -> None:
    ctx["session"] = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=job.TIMEOUT_S))


async def shutdown(ctx: dict[str, Any]) -> None:
    await ctx["session"].close()


class WorkerSettings:
    """The settings that arq's command reads.

    An arq worker polls the queue and starts at most 64 jobs for each poll. At arq's default of two polls a second, it
    could start only 128 jobs a second. So this worker polls every 0.05 s.
    """

    functions = (send,)
    redis_settings = REDIS
    on_startup = startup
    on_shutdown = shutdown
    max_jobs = job.CONCURRENCY
    poll_delay = 0.05
    keep_result = 0


def fill(count: int) -> None:
    async def run() -> None:
        pool = await create_pool(REDIS)
        for to, data in job.messages(count):
            await pool.enqueue_job("send", to, data)
        await pool.aclose()

    asyncio.run(run())
