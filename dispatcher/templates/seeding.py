"""Keeps the configuration's templates in the store, and the cache of latest versions up to date."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from dispatcher.errors import TemplateError, UnavailableError
from dispatcher.telemetry.log import logger
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.source import TemplateSource

REFRESH_S = 0.5
STARTING_S = 0.1
"""The pause between two refreshes, and the shorter one while the cache is not loaded yet."""


class TemplateSeeding:
    """Stores the templates of the configuration file, once each, and again what the store has lost.

    Once: while a changed file is being applied, replicas of the old and of the new file would otherwise replace each
    other's templates forever.
    """

    def __init__(self, cache: TemplateCache, sources: Sequence[TemplateSource]) -> None:
        self.cache, self._sources = cache, sources
        self._given: set[str] = set()  # names that are in the store
        self._refused: set[str] = set()  # names that do not compile

    async def run(self) -> None:
        """Seed, refresh and compile until cancelled. It waits out outages of the store."""
        while True:
            with contextlib.suppress(UnavailableError):
                await self.seed()  # each time, because the store may have been emptied
                await self.cache.warm()
            await asyncio.sleep(REFRESH_S if self.cache.loaded else STARTING_S)

    async def seed(self) -> None:
        """Refresh the cache, and store what the store does not have. Raises UnavailableError."""
        self.cache.promised = {source.name for source in self._sources} - self._refused
        await self.cache.refresh()
        for source in self._sources:
            if source.name in self._given and source.name in self.cache.latest:
                continue
            try:
                await self.cache.put(source, by_file=True)
                self._given.add(source.name)
            except TemplateError as error:  # refused when the file was read, by this version's rules at least
                if source.name not in self._refused:
                    self._refused.add(source.name)
                    self.cache.promised = set(self.cache.promised) - self._refused
                    logger().error("template_refused", template=source.name, reason=str(error))

    def store_broke(self) -> None:
        """Give every template again: an older copy of the store has the file's templates of its own time."""
        self._given.clear()
        self.cache.forget()
