"""Operators' work on templates: list, read, put and preview."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dispatcher.errors import CallerError, TemplateError
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.compile import Rendered, compile_gently
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.store import TemplateStore


class Templates:
    """Reads and writes template versions."""

    def __init__(self, cache: TemplateCache, store: TemplateStore) -> None:
        self._cache, self._store = cache, store

    def latest(self) -> Mapping[str, int]:
        """Return the latest version of every template, at most half a second old."""
        return self._cache.latest

    async def source(self, name: str, version: int | None) -> TemplateSource:
        """Return a version, by default the latest. Raises CallerError (404) and UnavailableError."""
        number = version if version is not None else self._cache.latest.get(name)
        source = None if number is None else await self._store.get(name, number)
        if source is None:
            raise CallerError("name", "no such template or version", 404)
        return source

    async def put(self, source: TemplateSource) -> int:
        """Store a new version if it compiles and differs, and return its number.

        Triggers that are accepted from now on use it, within a second. Raises CallerError (nothing was stored) and
        UnavailableError (repeat it).
        """
        try:
            return await self._cache.put(source)
        except TemplateError as error:
            raise CallerError("template", str(error)) from None

    async def preview(self, name: str, version: int | None, data: Mapping[str, Any], locale: str | None) -> Rendered:
        """Return what a version makes of `data`. Raises CallerError and UnavailableError."""
        source = await self.source(name, version)
        try:
            return (await compile_gently(source)).render(data, locale)
        except TemplateError as error:
            raise CallerError("data", str(error)) from None
