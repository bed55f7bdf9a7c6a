"""Tests that stored keys and values have the golden form. The previous version must be able to read a new form (ADR
0035).

`python -m tests.contract.test_stored_forms URL` writes tests/golden/stored.json again, from an empty Redis at URL.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import redis.asyncio

from dispatcher.adapters.redis.script_calls import client
from tests.contract.peer import Peer

GOLDEN = Path(__file__).parents[1] / "golden" / "stored.json"
KINDS = ("plain", "two", "several", "fallback", "hold", "delayed", "capped", "rated")
CHANGING = (
    (re.compile(r"[0-9]{13}-[0-9]+"), "<entry>"),
    (re.compile(r"(?<![0-9])[12][0-9]{12}(\.[0-9]+)?(?![0-9])"), "<ms>"),
    (re.compile(r"(?<=/[0-9]-)[0-9a-f]{8}"), "<tail>"),
)


async def stored(url: str) -> dict[str, Any]:
    """Store a trigger of each kind, end some of them, and return everything that Redis then holds.

    Values that change from run to run are replaced.
    """
    peer, connection = Peer(url), client(url)
    for kind in KINDS:
        await peer.accept(id=f"0-{kind}", kind=kind, key=f"key {kind}")
    await peer.put_template("receipt", "Hi {{ name }}")
    await peer.put_template("mended", "Ho {{ name }}", by_file=True)
    await peer.promote()
    me = await peer.register("a")
    await peer.claim(me, "a")
    await peer.start(me, "0-hold.0")
    ends = ("settle", "dead", "retry", "move", "hold")
    for kind, what in zip(("plain", "two", "fallback", "capped", "hold"), ends, strict=True):
        await peer.apply(me, f"0-{kind}.0", what)
    await peer.apply(me, "0-rated.0", "dead")
    await peer.redrive("0-rated.0", ["b", "a"], [4, "0123456789abcdef", "mended"])
    await peer.bury([await peer.register("b")])
    await peer.publish(1)
    await peer.override("a", "open")
    await peer.remember("a", {"state": "open"})
    found = {plain(key): await value(connection, key) for key in sorted(await connection.keys("*"))}
    await peer.close()
    await connection.aclose()
    return found


def plain(text: str) -> str:
    """Return the text with each value that changes from run to run replaced by a name."""
    for pattern, name in CHANGING:
        text = pattern.sub(name, text)
    return text


async def value(connection: redis.asyncio.Redis, key: str) -> Any:
    """Return the type and the content of a key."""
    kind = await connection.type(key)
    found: Any = {
        "string": lambda: connection.get(key),
        "hash": lambda: connection.hgetall(key),
        "list": lambda: connection.lrange(key, 0, -1),
        "set": lambda: connection.smembers(key),
        "zset": lambda: connection.zrange(key, 0, -1),
        "stream": lambda: connection.xrange(key),
    }[kind]
    content = await found()
    if kind == "hash":
        shown = {plain(name): plain(text) for name, text in sorted(content.items())}
        return {kind: {**shown, "life": "<random>"} if "life" in shown else shown}
    if kind == "stream":
        return {kind: [body for _, body in content]}
    return {kind: plain(content) if kind == "string" else sorted(map(plain, content))}


async def test_what_is_stored_is_as_it_was(redis_url: str, redis_client: redis.asyncio.Redis) -> None:
    """Everything stored in Redis equals the golden file. A change is a decision: the previous version must read it."""
    assert await stored(redis_url) == json.loads(GOLDEN.read_text())


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(asyncio.run(stored(sys.argv[1])), indent=1, ensure_ascii=False) + "\n")
