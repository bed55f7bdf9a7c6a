"""The template store on Redis. Key layout and invariant: scripts/template_put.lua."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from dispatcher.errors import UnavailableError
from dispatcher.templates.source import TemplateSource

_PUT = (Path(__file__).parent / "scripts" / "template_put.lua").read_text(encoding="utf-8")


class RedisTemplateStore:
    """A `TemplateStore`. `put` is safe to repeat after an `UnavailableError`: the same content gives the same version.

    Args:
        client: either kind, decoding its answers or not; owned by the caller.
        prefix: the cell's, with its hash tag, so that the script touches one slot.
    """

    def __init__(self, client: redis.asyncio.Redis, prefix: str = "{nd:0}:") -> None:
        self._client: Any = client  # the client's annotations differ between its sync and async halves
        self._prefix = prefix
        self._put = client.register_script(_PUT)

    async def put(self, source: TemplateSource, *, by_file: bool = False) -> int:
        content = json.dumps(source.parts(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        keys = [self._key(source.name), f"{self._prefix}templates", f"{self._prefix}templates:file"]
        digest = hashlib.sha256(content.encode()).hexdigest() if by_file else ""
        with _unavailable():
            return int(await self._put(keys=keys, args=[source.name, content, digest]))

    async def get(self, name: str, version: int) -> TemplateSource | None:
        with _unavailable():
            content = await self._client.hget(self._key(name), str(version))
        if content is None:
            return None
        return TemplateSource.from_dict({**json.loads(content), "name": name, "version": version})

    async def latest(self) -> dict[str, int]:
        with _unavailable():
            found = await self._client.hgetall(f"{self._prefix}templates")
        return {name if isinstance(name, str) else name.decode(): int(version) for name, version in found.items()}

    def _key(self, name: str) -> str:
        return f"{self._prefix}template:{name}"


# Redis takes no writes now: full, on a broken disk, or a replica. From inside a script each is a plain error.
_LATER = ("OOM command", "MISCONF ", "READONLY ")


@contextmanager
def _unavailable() -> Iterator[None]:
    """Turns "did not answer" and "takes no writes now" into an error that says: later."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise UnavailableError(f"the template store did not answer: {type(error).__name__}") from error
    except ResponseError as error:
        if not any(word in str(error) for word in _LATER):
            raise
        raise UnavailableError("the template store takes no writes now") from error
