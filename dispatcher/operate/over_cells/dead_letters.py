"""Operators' work on dead letters over several cells, one cell after the other.

A redrive may use in each cell only that cell's part of the pace. So several redrives at the same time are together no
faster than `redrive.per_s`, whatever cells they are in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from dispatcher.core.cells.names import cell_of
from dispatcher.core.life.dead_letter import DeadLetter, DeadLetterFilter
from dispatcher.errors import UnavailableError
from dispatcher.operate.dead_letters import AS_ACCEPTED, BulkResult, DeadLetters
from dispatcher.operate.over_cells.cells import Cells
from dispatcher.operate.over_cells.paging import Visit, walk
from dispatcher.operate.redrive_updates import Wanted

Act = Callable[[DeadLetters, DeadLetterFilter, "str | None"], Awaitable[BulkResult]]


class DeadLettersOverCells:
    """The operations on the dead letters of all cells. The methods are those of `DeadLetters`.

    If a filter names ids, only the cells of these ids are asked. Each of them must then answer, otherwise
    UnavailableError is raised. Without ids, a cell that is away is left out.
    """

    def __init__(self, cells: Cells[DeadLetters]) -> None:
        self._cells = cells

    async def listing(self, wanted: DeadLetterFilter, cursor: str | None) -> tuple[list[DeadLetter], str | None]:
        """Return the next letters that match, and the cursor with which the next call continues.

        In each cell the oldest letter is first. There are at most `wanted.limit` letters. The cursor is None at the end
        of the list.
        """
        letters: list[DeadLetter] = []

        async def visit(part: DeadLetters, here: DeadLetterFilter, inner: str | None) -> Visit:
            found, going_on = await part.listing(here, inner)
            letters.extend(found)
            return Visit(len(found), going_on)

        going_on = await self._walk(wanted, cursor, visit)
        return letters, going_on

    async def discard(self, wanted: DeadLetterFilter, cursor: str | None, dry_run: bool) -> BulkResult:
        """End the next letters that match, at most `wanted.limit` of them, so that they can never be redriven.

        With `dry_run`, only count them.
        """
        return await self._change(wanted, cursor, lambda part, here, inner: part.discard(here, inner, dry_run))

    async def redrive(
        self, wanted: DeadLetterFilter, cursor: str | None, dry_run: bool, *, today: Wanted = AS_ACCEPTED
    ) -> BulkResult:
        """Redrive the next letters that match, at most `wanted.limit`, each as a new generation.

        With `dry_run`, only count them. In each cell, the letters are redriven that were dead when the first call came
        to this cell. When the pace of a cell allows no more letters, the call stops there.
        """
        return await self._change(
            wanted, cursor, lambda part, here, inner: part.redrive(here, inner, dry_run, today=today)
        )

    async def _change(self, wanted: DeadLetterFilter, cursor: str | None, act: Act) -> BulkResult:
        total = BulkResult()

        async def visit(part: DeadLetters, here: DeadLetterFilter, inner: str | None) -> Visit:
            found = await act(part, here, inner)
            total.count, total.matched = total.count + found.count, total.matched + found.matched
            for reason, count in found.refused.items():
                total.refused[reason] = total.refused.get(reason, 0) + count
            total.wait_s = found.wait_s
            return Visit(found.matched, found.cursor)

        total.cursor = await self._walk(wanted, cursor, visit)
        return total

    async def _walk(
        self,
        wanted: DeadLetterFilter,
        cursor: str | None,
        visit: Callable[[DeadLetters, DeadLetterFilter, str | None], Awaitable[Visit]],
    ) -> str | None:
        among = [cell for cell in self._cells if not wanted.ids or any(cell_of(one) == cell for one in wanted.ids)]
        if wanted.ids:
            for cell in among:
                self._cells.check(cell)
        silent: list[UnavailableError] = []

        async def at(cell: str, part: DeadLetters, left: int, inner: str | None) -> Visit:
            here = replace(wanted, limit=left, ids=tuple(one for one in wanted.ids if cell_of(one) == cell))
            try:
                return await visit(part, here, inner)
            except UnavailableError as error:
                silent.append(error)
                raise

        going_on = await walk(self._cells, among, cursor, wanted.limit, visit=at)
        if wanted.ids and silent:
            raise silent[0]
        return going_on
