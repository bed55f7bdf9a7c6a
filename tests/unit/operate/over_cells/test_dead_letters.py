"""Dead letters over several cells are listed, redriven and discarded exactly once."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.life.dead_letter import DeadLetterFilter
from dispatcher.errors import UnavailableError
from dispatcher.operate.dead_letters import BulkResult
from dispatcher.operate.over_cells.dead_letters import DeadLettersOverCells
from dispatcher.operate.over_cells.missing_cells import collected
from tests.unit.operate.over_cells.two_cells import SeveralCells
from tests.virtual import virtual


def over(several: SeveralCells, per_s: float = 1000.0) -> DeadLettersOverCells:
    return DeadLettersOverCells(several.parts(lambda cell: cell.dead_letters(per_s)))


async def sweep(operations: DeadLettersOverCells, wanted: DeadLetterFilter) -> list[BulkResult]:
    """Redrive everything that the filter matches, waiting between calls as long as each answer says."""
    found: list[BulkResult] = []
    cursor: str | None = None
    while cursor is not None or not found:
        found.append(await operations.redrive(wanted, cursor, dry_run=False))
        cursor = found[-1].cursor
        await asyncio.sleep(found[-1].wait_s)
    return found


def dead(several: SeveralCells) -> int:
    return sum(len(cell.stage.cell.dead) for cell in several.cells.values())


@virtual
@pytest.mark.parametrize("limit", [1, 3, 4, 100])
async def test_a_bulk_redrive_changes_each_letter_once(limit: int) -> None:
    """A dry run counts the letters of both cells, and the redrive then changes as many, whatever its limit."""
    several = SeveralCells()
    ids = await several["0"].die(4) + await several["1"].die(5)
    operations = over(several)
    letters, cursor = await operations.listing(DeadLetterFilter(limit=100), None)
    assert ([letter.id for letter in letters], cursor) == (ids, None)
    dry = await operations.redrive(DeadLetterFilter(limit=100), None, dry_run=True)
    assert (dry.count, dry.matched, dry.cursor, dead(several)) == (9, 9, None, 9)
    found = await sweep(operations, DeadLetterFilter(limit=limit))
    assert (sum(one.count for one in found), dead(several)) == (9, 0)
    assert max(one.count for one in found) <= limit


@virtual
async def test_the_pace_of_each_cell_holds() -> None:
    """A cell allows two letters a second. Six letters in each of two cells need two seconds in each, one cell after the
    other.
    """
    several = SeveralCells()
    for name in "01":
        await several[name].die(6)
    began_s = several["0"].stage.clock.now_s()
    found = await sweep(over(several, per_s=2.0), DeadLetterFilter(limit=100))
    assert (sum(one.count for one in found), dead(several)) == (12, 0)
    assert several["0"].stage.clock.now_s() - began_s >= 4.0


@virtual
async def test_refusals_of_all_cells_are_counted() -> None:
    """Only one cell's plan has a vendor for the letters. The letters of the other cell are refused and stay."""
    several = SeveralCells()
    await several["0"].die(2, reason="unknown")
    await several["1"].die(3)
    result = await over(several).redrive(DeadLetterFilter(limit=100), None, dry_run=False)
    assert (result.count, result.matched, sum(result.refused.values())) == (3, 5, 2)


@virtual
async def test_a_filter_by_id_asks_only_the_cells_of_the_ids() -> None:
    """A letter of cell 1 is named while cell 0 is away: it is discarded. A letter of the cell that is away is not
    reported as "no such letter": the call raises UnavailableError.
    """
    several = SeveralCells()
    (there,), (here, other) = await several["0"].die(1), await several["1"].die(2)
    several["0"].silence()
    with collected() as missing:
        done = await over(several).discard(DeadLetterFilter(ids=(here,)), None, dry_run=False)
    assert (done.count, missing, list(several["1"].stage.cell.dead)) == (1, set(), [other])
    with pytest.raises(UnavailableError):
        await over(several).discard(DeadLetterFilter(ids=(there, other)), None, dry_run=False)
    several.known_away = {"0"}
    with pytest.raises(UnavailableError, match="cell 0 is away"):
        await over(several).listing(DeadLetterFilter(ids=(there,)), None)


@virtual
async def test_an_id_that_names_no_cell_matches_nothing() -> None:
    """A filter whose only id belongs to no cell must not become a filter for everything."""
    several = SeveralCells()
    await several["0"].die(2)
    done = await over(several).discard(DeadLetterFilter(ids=("z-nothing.0",)), None, dry_run=False)
    assert (done.count, done.cursor, dead(several)) == (0, None, 2)


@virtual
async def test_a_cell_that_is_away_is_left_out_and_named() -> None:
    several = SeveralCells()
    for name in "01":
        await several[name].die(2)
    several["1"].silence()
    with collected() as missing:
        done = await over(several).redrive(DeadLetterFilter(limit=100), None, dry_run=False)
    assert (done.count, done.cursor, missing, dead(several)) == (2, None, {"1"}, 2)
