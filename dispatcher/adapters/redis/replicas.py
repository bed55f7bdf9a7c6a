"""Writes that count only when replicas have them on disk, by WAITAOF (Redis 7.2 or Valkey).

Calls are run in rounds. All calls that arrive while a round runs make up the next round. A round sends the scripts of
its calls in one pipeline, and after them a *mark*: a write to a key of its own. When Redis has answered the pipeline,
WAITAOF waits until as many replicas as `core.store.replication` requires have everything on disk. The mark is needed
for calls whose scripts write nothing, and only read what another process has just written. WAITAOF knows only the last
write of its own connection. With the mark there is such a write, and everything read before it is older.

So rounds have a connection of their own. If this connection was opened again during a round, the round fails: a new
connection has written nothing, and WAITAOF would answer at once.

WAITAOF must not share a pipeline with the write. A replica that gets both together answers before its fsync, and is not
asked again, so the answer may be too low. So each WAITAOF waits briefly and is then repeated. An idle server notices
the end of a wait only at its next tick (`hz`) or at another command. So PINGs are sent meanwhile.

Guarantee: when `run` returns, the primary and the needed replicas have every write of `calls`, and everything that the
scripts read, on disk. After `UnavailableError` each call is maybe done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.script_calls import UNAVAILABLE, Call, Client, answered, run
from dispatcher.core.store.replication import ReplicaRule, Seen, Standing
from dispatcher.errors import UnavailableError

STEP_MS, STEP_MS_MAX = 5, 100
"""The time-outs of WAITAOF, in milliseconds.

The first is `STEP_MS`, and each repetition doubles it up to `STEP_MS_MAX`.

A replica on the same machine answers within 1 ms.
"""

LOOK_S = 1.0
"""The time in seconds between two questions to the sentinels about the replicas."""

LOOK_AGAIN_S = 0.25
"""The time in seconds after which a round that still waits asks the sentinels again.

The round may wait for a replica that is gone. Without the new question, a fail-over refused accepts for 0.8 s longer
in one run.
"""

_Waiting = tuple[Sequence[Call], "asyncio.Future[list[Any]]"]


class ReplicatedWrites:
    """Runs scripts, and waits until the writes of these scripts are on the disks of replicas.

    `own` is a client that is used for nothing else. `poke` is any other client of the same Redis; it sends the PINGs.
    """

    def __init__(
        self, own: Client, poke: Client, rule: ReplicaRule, *, answer_s: float, keys: Keys | None = None
    ) -> None:
        """Make the object without a connection.

        `own` and `poke` are two clients of the same Redis, as the class explains. `rule` says how many replicas must
        have a write on disk. A round that takes longer than `answer_s` seconds fails.
        """
        self._own, self._poke, self._rule, self._answer_s = own, poke, rule, answer_s
        self._keys = keys or Keys()
        self._seen: Seen | None = None
        self._waiting: list[_Waiting] = []
        self._rounds: asyncio.Task[None] | None = None
        self._number = 0
        self.standing = Standing(rule.known(None), rule.needed(None), 0, False)

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """Run `calls`, and return their replies in order when the needed replicas have the writes on disk.

        A reply may be an exception, as in `script_calls.run`. Raises `UnavailableError`; each call is then maybe done.
        If the caller is cancelled, the calls still run.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((calls, future))
        if self._rounds is None:
            self._rounds = asyncio.get_running_loop().create_task(self._run())
        return await future

    async def watch(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Keep `standing` and the known number of replicas up to date until cancelled, even if nothing is written."""
        while True:
            with contextlib.suppress(UnavailableError):
                await self._look()
                await self.run([])
            await sleep(LOOK_S)

    async def close(self) -> None:
        """Close the connection. Every waiting caller gets `UnavailableError`, and its calls are maybe done."""
        await self._own.aclose()
        if self._rounds is not None:
            await asyncio.wait({self._rounds})

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._answer(batch)
        finally:
            self._rounds = None

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        try:
            replies = await self._round([call for calls, _ in batch for call in calls])
        except Exception as error:  # whatever failed, nobody must wait forever
            found = error if isinstance(error, UnavailableError) else UnavailableError(f"redis: {type(error).__name__}")
            for _, future in batch:
                if not future.done():
                    future.set_exception(found)
                    future.exception()  # otherwise asyncio logs "never retrieved" for a caller that left
            return
        at = 0
        for calls, future in batch:
            if not future.done():
                future.set_result(replies[at : at + len(calls)])
            at += len(calls)

    async def _round(self, calls: Sequence[Call]) -> list[Any]:
        until_s = asyncio.get_running_loop().time() + self._answer_s
        self._number += 1
        mark = Call("mark", [self._keys.mark, self._keys.nil], [self._number])
        try:
            if self._seen is None:
                await self._look()
            self._refuse()
            opened = await self._own.shared.opened()
            *replies, marked = await run(self._own, [*calls, mark], last_again=True)
            answered(marked, "mark")
            await self._synced(until_s)
            if await self._own.shared.opened() != opened:
                raise UnavailableError("redis: the connection was opened again")
        except UNAVAILABLE as error:
            raise UnavailableError(f"redis: {type(error).__name__}") from error
        return replies

    def _refuse(self) -> None:
        """Raise `UnavailableError` if the rule cannot be kept with the replicas that are known.

        `up` and `deploy` check this before they start anything. Nobody checks it where Serve alone starts a file, and
        the operators of Redis can take replicas away later.
        """
        refused = self._rule.refusal(self._seen)
        if refused is not None:
            self.standing = Standing(self._rule.known(self._seen), self._rule.needed(self._seen), 0, True, refused)
            raise UnavailableError(refused, 5.0)

    async def _synced(self, until_s: float) -> None:
        """Wait until the needed replicas have all writes of this connection on disk.

        Raises `UnavailableError` if that is not so at the time `until_s` of the loop's clock. The error is raised at
        once if the server is no primary or has no append-only file.
        """
        loop, step_ms = asyncio.get_running_loop(), STEP_MS
        looked_s = loop.time()
        while True:
            needed, known = self._rule.needed(self._seen), self._rule.known(self._seen)
            (reply,) = await self._ask(("WAITAOF", 1, needed, step_ms), step_ms / 1000)
            if isinstance(reply, Exception):  # of a server that is no primary any more, or has no append-only file
                self._own.finder.moved()
                await self._own.shared.close()
                raise UnavailableError(f"redis: {reply}")
            local, synced = (int(count) for count in reply)
            done = local >= 1 and synced >= needed
            late = loop.time() >= until_s
            if done or late:
                self.standing = Standing(known, needed, synced, not done)
            if done:
                return
            if late:
                raise UnavailableError(f"{synced} of {needed} replicas have it on disk", 5.0)
            if loop.time() - looked_s >= LOOK_AGAIN_S:
                await self._look()
                looked_s = loop.time()
            step_ms = min(step_ms * 2, STEP_MS_MAX)

    async def _ask(self, command: tuple[Any, ...], step_s: float) -> list[Any]:
        asked = asyncio.ensure_future(self._own.shared.ask([command]))
        try:
            while not (await asyncio.wait({asked}, timeout=step_s + 0.001))[0]:
                with contextlib.suppress(*UNAVAILABLE):
                    await self._poke.shared.ask([("PING",)])
            return asked.result()
        finally:
            asked.cancel()

    async def _look(self) -> None:
        finder = self._own.finder
        if not finder.fixed:
            try:
                self._seen = Seen(*await finder.replicas())
            except UNAVAILABLE as error:
                if self._seen is None:
                    raise UnavailableError(f"redis: {error}") from error
