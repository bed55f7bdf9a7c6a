"""Code that all actors share: it opens Redis, runs background loops, and returns statistics. No constructor of an actor
opens anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.adapters.cores import Cores
from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.replicas import ReplicatedWrites
from dispatcher.adapters.redis.script_calls import Client, client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.config.secret_references import resolve
from dispatcher.config.settings import Settings
from dispatcher.core.life.receipt import ReceiptLinks
from dispatcher.core.plan.identity import Identity
from dispatcher.core.plan.values import Plan
from dispatcher.deliver.courier import IDLE_BLOCK_MS
from dispatcher.telemetry.log import logger
from dispatcher.waiting import ended


@dataclass(frozen=True, slots=True)
class CellRedis:
    """The Redis of one cell: the name of the cell, and a reference to the URL.

    The URL is a reference (`file:`), because Ray stores and shows the arguments of constructors.
    """

    cell: str
    reference: str

    @property
    def keys(self) -> Keys:
        return Keys(self.cell)

    def open(self, **options: Any) -> Client:
        """Return a new client for this Redis. `options` are passed to `script_calls.client`."""
        return client(resolve(self.reference), **options)

    def open_replicated(self, settings: Settings, poke: Client, *, answer_s: float = 2.0) -> ReplicatedWrites | None:
        """Return a `ReplicatedWrites` with a connection of its own, or None if writes do not wait for replicas.

        `poke` and `answer_s` are passed to the constructor of `ReplicatedWrites`.
        """
        rule = settings.store.replica_rule()
        if rule is None:
            return None
        return ReplicatedWrites(self.open(), poke, rule, answer_s=answer_s, keys=self.keys)

    def open_mailboxes(
        self, settings: Settings, connection: Client, replicated: ReplicatedWrites | None, *, vendor: str
    ) -> RedisStore:
        """Return the store that the courier of `vendor` uses. Claims that wait for an entry use a Redis client of their
        own.
        """
        blocked_s = max(IDLE_BLOCK_MS, settings.courier.claim_block_ms) / 1000
        return RedisStore(
            connection,
            self.open(timeout_s=blocked_s + 2.0, connections_max=2),
            self.keys,
            replicated=replicated,
            retention_ms=settings.retention.finished_s * 1000,
            on_set_back=lambda by_ms: logger().error("store_clock_set_back", by_ms=by_ms, vendor=vendor),
        )


def cells_of(runtime: Mapping[str, str], settings: Settings) -> list[CellRedis]:
    """Return the Redis of each cell, in the order of the cells. The first one is the Redis that `runtime` names."""
    references = (runtime["redis_url"], *settings.store.cells)
    return list(map(CellRedis, settings.store.cell_names, references))


def receipt_links(settings: Settings) -> ReceiptLinks | None:
    """Return the object that makes the links to which vendors send receipts. Return None if receipts are not
    configured.
    """
    found = settings.receipts
    if found.public_url is None or found.secret is None:
        return None
    return ReceiptLinks(found.public_url, resolve(found.secret))


def told_cores(cores: Cores | None, now_s: float) -> dict[str, float]:
    """Return what a report says about CPU time and free cores, or an empty dict if nothing is measured yet."""
    found = None if cores is None else cores.read(now_s)
    if found is None:
        return {}
    return {
        "cpu": round(found.cpu, 3),
        "waiting": round(found.waiting, 3),
        "free_cores": round(found.free_cores, 3),
    }


def leave_if_asked(plan: Plan, identity: Identity) -> None:
    """Raise RuntimeError if the plan moves this replica to another machine (`core.plan.placement`)."""
    if identity.get("replica") in plan.leaving:
        raise RuntimeError("asked to leave this machine")


class Tasks:
    """The background loops of one actor. `check` raises RuntimeError as soon as any loop has ended."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self, name: str, loop: Awaitable[Any]) -> asyncio.Task[Any]:
        async def run() -> Any:
            return await loop

        task = asyncio.get_running_loop().create_task(run(), name=name)
        self._tasks.append(task)
        return task

    def check(self) -> None:
        for task in self._tasks:
            if task.done():
                error = None if task.cancelled() else task.exception()
                logger().error("loop_ended", name=task.get_name(), error=repr(error)[:200])
                raise RuntimeError(f"{task.get_name()} has ended: {error!r}")

    async def stop(self) -> None:
        await ended(self._tasks)
        self._tasks.clear()
