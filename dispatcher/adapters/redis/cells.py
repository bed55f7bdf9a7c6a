"""The membership of a cell on Redis. `dispatcher.ports.cells` is the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import NoPermissionError

from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.replicas import ReplicatedWrites
from dispatcher.adapters.redis.script_calls import Call, Client, answered, reached, run
from dispatcher.core.cells.membership import Membership
from dispatcher.core.cells.names import CELL_NAMES

SINCE = "since:"


class RedisCellMember:
    """The membership of one cell, in the hash `cells` of its Redis.

    With `replicated`, what was written counts only when replicas have it on disk.
    """

    def __init__(self, connection: Client, cell: str, replicated: ReplicatedWrites | None = None) -> None:
        self._redis, self._cell, self._replicated = connection, cell, replicated
        self._keys = Keys(cell)

    @property
    def cell(self) -> str:
        return self._cell

    async def server(self) -> str:
        return str((await reached(self._redis.info("server")))["run_id"])

    async def found(self) -> Mapping[str, Membership]:
        pipeline = self._redis.pipeline(transaction=False)
        for cell in CELL_NAMES:
            pipeline.hgetall(Keys(cell).cells)
        replies = await reached(pipeline.execute(raise_on_error=False))
        hashes = {
            cell: answered(reply, "cells")
            for cell, reply in zip(CELL_NAMES, replies, strict=True)
            if cell == self._cell or not isinstance(reply, NoPermissionError)  # the user may read its own cell only
        }
        return {cell: _membership(cell, hash_) for cell, hash_ in hashes.items() if "installation" in hash_}

    async def begin(self, installation: str, count: int) -> Membership:
        return await self._join(installation, count, count, "begin")

    async def join(self, new: Membership) -> Membership:
        return await self._join(new.installation, new.first, new.count, "")

    async def raise_to(self, count: int) -> Membership:
        return await self._written("known", [self._keys.cells, self._keys.ledger, self._keys.nil], [count])

    async def _join(self, installation: str, first: int, count: int, how: str) -> Membership:
        k = self._keys
        return await self._written(
            "join", [k.cells, k.ledger, k.plan, k.nil], [installation, self._cell, first, count, how]
        )

    async def _written(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Membership:
        """Run a script that changes the membership, and return the membership afterwards."""
        calls = [Call(name, keys, args)]
        (reply,) = await (run(self._redis, calls) if self._replicated is None else self._replicated.run(calls))
        answered(reply, name)
        stored: Any = self._redis.hgetall(self._keys.cells)
        return _membership(self._cell, await reached(stored))


def _membership(cell: str, stored: Mapping[str, str]) -> Membership:
    since_ms = {int(name.removeprefix(SINCE)): int(at) for name, at in stored.items() if name.startswith(SINCE)}
    return Membership(stored.get("installation", ""), cell, int(stored.get("n", 1)), since_ms)
