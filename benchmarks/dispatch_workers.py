"""Runs one of the workers of this repository that `dispatch_cost` measures, as a process without Ray.

`ours` is the vendor actor with all its duties: breaker, limiter, fencing, a record of every attempt, metrics, beats,
reports, takes and audits. `floor` is the smallest worker that delivers at least once: XREADGROUP, render, POST, XACK.
It uses the same event loop, HTTP client and Redis as `ours`. `supervisor` publishes the plan for `ours`, as in
production. The CPU time of `supervisor` is not counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import Any

import aiohttp
import click
import uvloop

from actors.supervisor import SupervisorActor
from actors.vendor import VendorActor
from benchmarks.peers import job
from benchmarks.triggers import checkout
from dispatcher.adapters.redis.script_calls import client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.config.yaml_file import load_settings
from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.notification import NewNotification
from dispatcher.ports import STORED
from dispatcher.templates.source import TemplateSource

VENDOR = "sms-a"
STREAM = "floor"
SETTLE_S = 0.1
BATCH = 100
TENANTS = 1_000
CONTRACT_PER_S = 100_000.0


def redis_url() -> str:
    return f"unix://{job.socket()}"


def settings() -> JsonObject:
    """Return the sandbox's settings, but with a contract rate for our vendor, so that the limiter is asked for each
    claim as in production.

    The rate is so high that the vendor is never limited by it.
    """
    found = load_settings(Path(str(resources.files("cluster") / "sandbox.yaml"))).model_dump(mode="json")
    found["vendors"][VENDOR]["rate_per_s"] = CONTRACT_PER_S
    return found


async def ours(stop: asyncio.Event) -> None:
    actor = VendorActor(settings(), VENDOR, {"redis_url": redis_url()}, {"replica": "benchmark", "pid": os.getpid()})
    await actor.start()
    await stop.wait()
    await actor.stop(5.0)


async def supervisor(stop: asyncio.Event) -> None:
    actor = SupervisorActor(settings(), {"redis_url": redis_url()}, {})
    await actor.start()
    await stop.wait()
    await actor.stop(5.0)


async def floor(stop: asyncio.Event) -> None:
    """Run the smallest worker until `stop` is set.

    This worker claims and acknowledges in round trips that are 100 ms apart, as our courier does. With a round trip for
    each message, Redis would fsync for each command, and this worker would cost more CPU than ours.
    """
    store, waiting = client(redis_url()), client(redis_url(), timeout_s=5.0)
    done: list[str] = []
    calls: set[asyncio.Task[None]] = set()
    room = asyncio.Event()

    async def deliver(entry_id: str, text: str) -> None:
        message = json.loads(text)
        async with session.post(url, data=job.body(message["to"], message["data"]), headers=job.HEADERS) as answer:
            job.check(answer.status, await answer.read())
        done.append(entry_id)

    def ended(task: asyncio.Task[None]) -> None:
        calls.discard(task)
        room.set()

    async def acknowledge() -> None:
        while True:
            await asyncio.sleep(SETTLE_S)
            batch = done[:]
            del done[: len(batch)]
            if batch:
                pipeline = store.pipeline(transaction=False)
                pipeline.xack(STREAM, "g", *batch)
                pipeline.xdel(STREAM, *batch)
                await pipeline.execute()

    url = job.url()
    acknowledging = asyncio.ensure_future(acknowledge())
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=job.TIMEOUT_S)) as session:
        while not stop.is_set():
            free = job.CONCURRENCY - len(calls)
            if free == 0:
                room.clear()
                await room.wait()
                continue
            reply: Any = await waiting.xreadgroup("g", "floor", {STREAM: ">"}, count=free, block=200)
            for _, entries in reply or []:
                for entry_id, fields in entries:
                    task = asyncio.ensure_future(deliver(entry_id, fields["j"]))
                    calls.add(task)
                    task.add_done_callback(ended)
    acknowledging.cancel()


async def fill_tenants(count: int) -> None:
    """Queue `count` notifications like `fill_ours`, but spread the triggers over a thousand tenants."""
    await fill_ours(count, TENANTS)


async def fill_ours(count: int, tenants: int = 1) -> None:
    """Queue `count` triggers with one SMS each, as intake does. The triggers belong to `tenants` tenants in turn."""
    connection = client(redis_url())
    version = await RedisTemplateStore(connection).put(TemplateSource(name="paid-sms", text=job.TEXT))
    store, now_ms = RedisStore(connection), int(time.time() * 1000)
    triggers = [
        checkout(
            n,
            now_ms,
            NewNotification("sms", to, ("sms-a", "sms-b"), VENDOR, "paid-sms", version),
            order=data["order"],
            data=data,
            tenant=f"tenant-{n % tenants}",
        )
        for n, (to, data) in enumerate(job.messages(count))
    ]
    for n in range(0, count, BATCH):
        assert set(await store.accept(triggers[n : n + BATCH])) == {STORED}
    await connection.aclose()


async def fill_floor(count: int) -> None:
    connection = client(redis_url())
    await connection.xgroup_create(STREAM, "g", "0", mkstream=True)
    rows = [json.dumps({"to": to, "data": data}) for to, data in job.messages(count)]
    for n in range(0, count, BATCH):
        pipeline = connection.pipeline(transaction=False)
        for row in rows[n : n + BATCH]:
            pipeline.xadd(STREAM, {"j": row})
        await pipeline.execute()
    await connection.aclose()


LOOPS: dict[str, Callable[[asyncio.Event], Awaitable[None]]] = {
    "ours": ours,
    "tenants": ours,
    "floor": floor,
    "supervisor": supervisor,
}
FILLS: dict[str, Callable[[int], Awaitable[None]]] = {"ours": fill_ours, "tenants": fill_tenants, "floor": fill_floor}


async def _run(name: str, fill: int) -> None:
    if fill:
        await FILLS[name](fill)
        return
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await LOOPS[name](stop)


@click.command(help=__doc__)
@click.argument("name", type=click.Choice(sorted(LOOPS)))
@click.option("--fill", default=0, help="queue so many messages for it instead, and end")
def main(name: str, fill: int) -> None:
    uvloop.run(_run(name, fill))


if __name__ == "__main__":
    main()
