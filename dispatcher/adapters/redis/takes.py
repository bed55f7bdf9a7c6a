"""Claims what is pending for incarnations that are no longer live. `Store.take` is the contract.

One script takes from one dead incarnation in one stream, so that a damaged key stops no other. The script knows nothing
of the other streams. So the number of entries that a take may claim is shared out before the scripts run, and what a
script did not use goes to those that got nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from dispatcher.adapters.redis.claim_reader import ClaimReader
from dispatcher.adapters.redis.keys import Keys, streams_of
from dispatcher.adapters.redis.script_calls import Call, Client, run, run_one
from dispatcher.core.life.notification import Lane
from dispatcher.ports import Claims


class Left(NamedTuple):
    """The claims that a dead incarnation has left in one stream. `name` is the incarnation."""

    stream: str
    name: str
    pending: int


class RedisTakes:
    """Takes the claims of dead incarnations in one cell. `hold_ms` limits how long a notification may be held."""

    def __init__(self, connection: Client, keys: Keys, reader: ClaimReader, hold_ms: int) -> None:
        self._redis, self._keys, self._reader, self._hold_ms = connection, keys, reader, hold_ms

    async def take(self, me: str, lanes: Sequence[Lane], at_most: int) -> Claims:
        left, answers = await self._left(me, lanes), list[tuple[str, Any]]()
        while left:
            shares, left = allot(left, at_most)
            if not shares:
                break
            replies = await run(self._redis, [self._call(me, it, count) for it, count in shares])
            answers += zip((it.stream for it, _ in shares), replies, strict=True)
            at_most -= sum(len(reply[2]) for reply in replies if not isinstance(reply, Exception))
        return self._claims(answers)

    async def _left(self, me: str, lanes: Sequence[Lane]) -> list[Left]:
        streams = [self._keys.lane(lane) for lane in streams_of(lanes)]
        found = await run_one(self._redis, "left", [self._keys.actors, *streams], [])
        rows = [Left(stream, *of) for stream, *row in found for of in zip(row[::2], row[1::2], strict=True)]
        return [row for row in rows if row.name != me]

    def _call(self, me: str, left: Left, count: int) -> Call:
        k = self._keys
        keys = [left.stream, k.actors, k.held, k.nil, k.singled, k.clock]
        return Call("take", keys, [left.name, me, k.record_prefix, self._hold_ms, count])

    def _claims(self, answers: Sequence[tuple[str, Any]]) -> Claims:
        replies = [reply for _, reply in answers if not isinstance(reply, Exception)]
        refused = [f"{stream}: {reply}" for stream, reply in answers if isinstance(reply, Exception)]
        rows = [row for reply in replies for row in reply[2]]
        lost = sum(int(reply[1]) for reply in replies)
        got = self._reader.claims(max((int(reply[0]) for reply in replies), default=0), rows, lost)
        return replace(got, refused=refused)


def allot(left: Iterable[Left], at_most: int) -> tuple[list[tuple[Left, int]], list[Left]]:
    """Share out `at_most` entries in the order of `left`. Return how many to take from which, and those that get none.

    If nothing is pending for an incarnation, its number is 0. The script then forgets the consumer.
    """
    shares, others = list[tuple[Left, int]](), list[Left]()
    for it in left:
        count = min(it.pending, at_most)
        at_most -= count
        if count or not it.pending:
            shares.append((it, count))
        else:
            others.append(it)
    return shares, others
