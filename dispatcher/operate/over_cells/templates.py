"""The work of operators and tenants on templates over several cells. The first cell decides each version's number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate.over_cells.cells import Cells
from dispatcher.operate.templates import Templates
from dispatcher.templates.compile import Rendered
from dispatcher.templates.source import TemplateSource

TRIES_MAX = 4
"""How often a put chooses another number, because a cell had given the number to another text."""


class TemplatesOverCells:
    """Reads and writes template versions in all cells. The methods are those of `Templates`.

    Templates are read from the first cell that answers, because all cells have the same ones.
    """

    def __init__(self, cells: Cells[Templates]) -> None:
        self._cells = cells

    def listing(self, owner: str | None) -> tuple[dict[str, int], list[str]]:
        """Return the latest version of each template that `owner` can use, and the names of the owner's own templates.

        The answer is at most half a second old.
        """
        return self._reader().listing(owner)

    async def source(self, owner: str | None, name: str, version: int | None) -> TemplateSource:
        """Return one version of a template, or the latest if `version` is None.

        Raises CallerError (404) and UnavailableError.
        """
        return await self._reader().source(owner, name, version)

    async def put(self, owner: str | None, source: TemplateSource) -> int:
        """Store a template as a new version in every cell, and return the version's number, which is the same in all.

        Raises CallerError (nothing was stored) and UnavailableError (a cell is away: call it again). Of a call that
        failed, the first cell may have the new version already. The other cells then get it when they answer again
        (`templates.copying`).
        """
        first, *_ = self._cells
        for cell in self._cells:
            self._cells.check(cell)
        above = 0
        for _ in range(TRIES_MAX):
            version = await self._cells[first].put(owner, source, above=above)
            above = await self._copy(first, owner, replace(source, version=version))
            if not above:
                return version
        raise UnavailableError("the cells disagree about the numbers of this template")

    async def _copy(self, first: str, owner: str | None, source: TemplateSource) -> int:
        """Copy a version to all other cells. Return 0 if that is done, else the number that the version must exceed."""

        async def copy(part: Templates) -> int | None:
            return None if part is self._cells[first] else await part.copy(owner, source)

        return max((found or 0 for found in (await self._cells.ask_all(copy)).values()), default=0)

    async def delete(self, owner: str | None, name: str) -> None:
        """Delete a template in every cell. Only triggers that are accepted later are affected.

        Raises CallerError (404, 409) if no cell has deleted it, and UnavailableError (a cell is away: call it again).
        """

        async def delete(part: Templates) -> CallerError | None:
            try:
                await part.delete(owner, name)
            except CallerError as error:
                return error
            return None

        first, *_ = self._cells
        self._cells.check(first)
        # The first cell comes first. What it still had, `templates.copying` would give back to a cell that deleted it.
        refused = await delete(self._cells[first])
        others = await self._cells.ask_all(delete)
        if refused is not None and all(others.values()):
            raise refused

    async def rendered(self, source: TemplateSource, data: Mapping[str, Any], locale: str | None) -> Rendered:
        """Return the texts that the template version `source` gives with `data`. Raises CallerError if the version does
        not compile or cannot be rendered.
        """
        return await self._reader().rendered(source, data, locale)

    def _reader(self) -> Templates:
        away = self._cells.away()
        usable = [cell for cell in self._cells if cell not in away and self._cells[cell].loaded]
        return self._cells[usable[0] if usable else next(iter(self._cells))]
