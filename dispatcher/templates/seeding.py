"""Stores the configuration's templates, and keeps the cache of latest versions up to date."""

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
"""The pause between two refreshes, in seconds, while the cache is not loaded yet.

`REFRESH_S` is the pause afterwards.
"""


class TemplateSeeding:
    """Stores each template of the configuration file once, and again only if the store has lost it.

    While a changed file is being deployed, replicas with the old and with the new file run together. If each replica
    stored the templates of its file again and again, the replicas would replace each other's templates without end.
    """

    def __init__(self, cache: TemplateCache, sources: Sequence[TemplateSource]) -> None:
        self.cache, self._sources = cache, sources
        self._given: set[str] = set()  # names that are in the store
        self._refused: set[str] = set()  # names that do not compile

    async def run(self) -> None:
        """Put the templates of the configuration file into the store, refresh the cache and compile the latest
        versions. After a pause do the same again, until cancelled.

        If the store does not answer, the next round tries again. The pause is `REFRESH_S`, or `STARTING_S` while the
        cache is not loaded.
        """
        while True:
            with contextlib.suppress(UnavailableError):
                await self.seed()  # each time, because the store may have been emptied
                await self.cache.warm()
            await asyncio.sleep(REFRESH_S if self.cache.loaded else STARTING_S)

    async def seed(self) -> None:
        """Refresh the cache, then store the file's templates that the store does not have.

        Raises `UnavailableError`.
        """
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
        """Drop all compiled templates, and make the next `seed` store every template of the file again.

        Call this when the store lost data. The store may then hold older texts of the file's templates.
        """
        self._given.clear()
        self.cache.forget()
