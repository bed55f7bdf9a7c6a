"""The store of templates on Redis. The header of scripts/template_put.lua gives its keys and its invariant."""

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
from dispatcher.templates.owned import DELETED_KEPT_MS, TemplateQuota, owner_of, refused
from dispatcher.templates.source import TemplateSource

_SCRIPTS = Path(__file__).parent / "scripts"
_PUT = (_SCRIPTS / "template_put.lua").read_text(encoding="utf-8")
_COPY = (_SCRIPTS / "template_copy.lua").read_text(encoding="utf-8")
_DELETE = (_SCRIPTS / "template_delete.lua").read_text(encoding="utf-8")


class RedisTemplateStore:
    """A `TemplateStore` on Redis.

    After `UnavailableError`, `put` may be repeated, because the same content gives the same version.

    Args:
        client: a client that the caller closes. Its replies may be texts or bytes.
        prefix: the beginning of all keys of the cell. It contains a hash tag, so that all keys are in one slot.
    """

    def __init__(self, client: redis.asyncio.Redis, prefix: str = "{nd:0}:") -> None:
        self._client: Any = client  # the client's annotations differ between its sync and async halves
        self._prefix = prefix
        self._put, self._delete = client.register_script(_PUT), client.register_script(_DELETE)
        self._copy = client.register_script(_COPY)

    async def put(
        self, source: TemplateSource, *, by_file: bool = False, quota: TemplateQuota | None = None, above: int = 0
    ) -> int:
        content = source.canonical()
        given = hashlib.sha256(content.encode()).hexdigest() if by_file else ""
        limits = (-1, -1) if quota is None else (quota.names_max, quota.bytes_max)
        with _unavailable():
            args: list[Any] = [source.name, content, given, *limits, source.digest, above]
            reply = await self._put(keys=self._keys(source.name), args=args)
        if isinstance(reply, int):
            return reply
        assert quota is not None, "a common template has no quota"
        raise refused(quota, names=reply in ("NAMES", b"NAMES"))

    async def copy(self, source: TemplateSource) -> int | None:
        with _unavailable():
            args: list[Any] = [source.name, source.canonical(), source.digest, source.version]
            reply = int(await self._copy(keys=self._keys(source.name), args=args))
        return None if reply > 0 else -reply

    async def delete(self, stored: str) -> bool:
        with _unavailable():
            return bool(await self._delete(keys=self._keys(stored), args=[stored, DELETED_KEPT_MS]))

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

    def _keys(self, stored: str) -> list[str]:
        prefix = f"{self._prefix}templates"
        return [self._key(stored), prefix, f"{prefix}:file", f"{prefix}:of:{owner_of(stored) or ''}"]

    def _key(self, name: str) -> str:
        return f"{self._prefix}template:{name}"


# Redis takes no writes now: full, on a broken disk, or a replica. From inside a script each is a plain error.
_LATER = ("OOM command", "MISCONF ", "READONLY ")


@contextmanager
def _unavailable() -> Iterator[None]:
    """Turn an error that means "no answer" or "no writes now" into `UnavailableError`."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise UnavailableError(f"the template store did not answer: {type(error).__name__}") from error
    except ResponseError as error:
        if not any(text in str(error) for text in _LATER):
            raise
        raise UnavailableError("the template store takes no writes now") from error
