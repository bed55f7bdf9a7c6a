"""Copies the first cell's templates to another cell, and keeps that cell's cache up to date.

An installation has its templates in every cell. Over the API a template is stored in all of them. This loop gives a new
cell the templates from before, and completes what was stored while the cell was away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from dispatcher.errors import UnavailableError
from dispatcher.telemetry.log import logger
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.seeding import REFRESH_S, STARTING_S
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.store import TemplateStore


class TemplateCopying:
    """Copies each template's latest version from the first cell under the same number.

    Nothing is deleted here: a first cell that has lost its data must not empty the others.
    """

    def __init__(self, cache: TemplateCache, first: TemplateStore, sources: Sequence[TemplateSource]) -> None:
        """Prepare to copy from the first cell's store `first` to the store of `cache`.

        `sources` are the templates of the configuration file, which the first cell stores.
        """
        self.cache, self._first = cache, first
        self._in_file = {source.name for source in sources}
        self._told: set[tuple[str, int]] = set()  # versions that cannot be copied

    async def run(self) -> None:
        """Copy, refresh the cache and compile the latest versions, again and again, until cancelled.

        If a store does not answer, the next round tries again.
        """
        while True:
            with contextlib.suppress(UnavailableError):
                await self.copy()
                await self.cache.warm()
            await asyncio.sleep(REFRESH_S if self.cache.loaded else STARTING_S)

    async def copy(self) -> None:
        """Refresh the cache, then copy the versions that this cell does not have. Raises `UnavailableError`.

        If the first cell does not answer, the cell goes on with the templates that it has.
        """
        self.cache.promised = self._in_file
        await self.cache.refresh()
        with contextlib.suppress(UnavailableError):
            for name, version in (await self._first.latest()).items():
                if self.cache.latest.get(name, 0) < version and (name, version) not in self._told:
                    await self._copy(name, version)

    async def _copy(self, name: str, version: int) -> None:
        source = await self._first.get(name, version)
        if source is not None and await self.cache.copy(source) is not None:
            self._told.add((name, version))
            logger().error("template_differs", template=name, version=version)

    def store_broke(self) -> None:
        """Drop all compiled templates. Call this when the store of this cell lost data."""
        self._told.clear()
        self.cache.forget()
