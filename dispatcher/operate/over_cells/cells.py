"""The parts of one kind, one for each cell, and the three ways to ask them: one, all that answer, or all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Generic, TypeVar

from dispatcher.core.cells.names import cell_of
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate.over_cells.missing_cells import note_missing

Part = TypeVar("Part")
Found = TypeVar("Found")
Other = TypeVar("Other")


class Cells(Generic[Part]):
    """The parts of one kind by cell, in the order of the cells."""

    def __init__(self, parts: Mapping[str, Part], answers: Callable[[str], bool]) -> None:
        """Keep the parts. `answers` tells whether a cell's store has answered lately.

        A cell that has not is not asked at all: each question would wait for its time-out and occupy a request slot.
        """
        self._parts, self._answers = dict(parts), answers

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __getitem__(self, cell: str) -> Part:
        return self._parts[cell]

    def select(self, of: Callable[[Part], Other]) -> Cells[Other]:
        """Return the cells with `of(part)` in the place of each part."""
        return Cells({cell: of(part) for cell, part in self._parts.items()}, self._answers)

    def away(self) -> list[str]:
        """Return the cells whose stores have not answered lately."""
        return [cell for cell in self._parts if not self._answers(cell)]

    def of(self, ident: str) -> Part:
        """Return the part of the cell that the id `ident` of a trigger or notification names.

        Raises CallerError (404) if there is no such cell, and UnavailableError if it is away.
        """
        cell = cell_of(ident)
        if cell is None or cell not in self._parts:
            raise CallerError("id", "must name a cell of this installation", 404)
        self.check(cell)
        return self._parts[cell]

    def check(self, cell: str) -> None:
        """Raise UnavailableError, which names the cell, if it is away."""
        if not self._answers(cell):
            raise cell_away(cell)

    async def ask_some(self, ask: Callable[[Part], Awaitable[Found]]) -> dict[str, Found]:
        """Ask all cells side by side, and return the answers by cell. A cell that is away is noted as missing.

        Raises UnavailableError if no cell answers.
        """
        answers = await self._gather(ask)
        found = {cell: answer for cell, answer in answers.items() if not isinstance(answer, UnavailableError)}
        if not found:
            raise UnavailableError("no cell answers")
        for cell in answers.keys() - found.keys():
            note_missing(cell)
        return found

    async def ask_all(self, ask: Callable[[Part], Awaitable[Found]]) -> dict[str, Found]:
        """Ask all cells side by side, and return the answers by cell.

        Raises UnavailableError, which names a cell that did not answer. The other cells have then been asked as well.
        """
        found: dict[str, Found] = {}
        for cell, answer in (await self._gather(ask)).items():
            if isinstance(answer, UnavailableError):
                raise UnavailableError(f"cell {cell}: {answer.reason}", answer.retry_after_s)
            found[cell] = answer
        return found

    async def _gather(self, ask: Callable[[Part], Awaitable[Found]]) -> dict[str, Found | UnavailableError]:
        async def one(cell: str) -> Found | UnavailableError:
            try:
                self.check(cell)
                return await ask(self._parts[cell])
            except UnavailableError as error:
                return error

        answers = await asyncio.gather(*map(one, self._parts))
        return dict(zip(self._parts, answers, strict=True))


def cell_away(cell: str) -> UnavailableError:
    """Return the error for a question to a cell that is away."""
    return UnavailableError(f"cell {cell} is away")
