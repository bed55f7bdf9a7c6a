"""Each receipt of a call-back is applied in the cell of its notification."""

from __future__ import annotations

import pytest

from dispatcher.core.life.receipt import Told
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate.over_cells.receipts import ReceiptsOverCells
from tests.unit.operate.over_cells.two_cells import LINKS, SeveralCells
from tests.virtual import virtual


def told(nid: str, token: str | None = None) -> Told:
    return Told(nid, LINKS.link("a", nid).token if token is None else token, True)


def over(several: SeveralCells, *read: Told) -> ReceiptsOverCells:
    """Return the operations. Every call-back of the vendor `a` contains the receipts `read`."""
    return ReceiptsOverCells(several.parts(lambda cell: cell.receipts(lambda query, body: list(read))))


@virtual
async def test_one_call_back_is_applied_in_several_cells() -> None:
    """A call-back has receipts for both cells. Their results are added up."""
    several = SeveralCells()
    (first,), (second,) = await several["0"].accept(), await several["1"].accept()
    for nid in (first, second):
        await several[nid[0]].store.withdraw(nid, "cancelled", "cancelled")
    results = await over(several, told(first), told(second)).call_back("a", {}, b"")
    assert results == {"taken": 2}


@virtual
async def test_a_cell_that_is_away_makes_the_provider_repeat() -> None:
    """The receipts for the other cell are applied first, and a repeat is safe."""
    several = SeveralCells()
    (first,), (second,) = await several["0"].accept(), await several["1"].accept()
    several["0"].silence()
    operations = over(several, told(first), told(second))
    with pytest.raises(UnavailableError):
        await operations.call_back("a", {}, b"")
    assert (
        several["1"].stage.counted("dispatcher_receipts", "a", "taken")
        + several["1"].stage.counted("dispatcher_receipts", "a", "settled")
        == 1
    )


@virtual
async def test_only_a_call_back_without_a_valid_receipt_is_refused() -> None:
    """A receipt that names no cell, and one with a wrong token, are skipped beside a valid one. Alone they are 404 and
    403. So is an unknown vendor.
    """
    several = SeveralCells()
    (nid,) = await several["1"].accept()
    await several["1"].store.withdraw(nid, "cancelled", "cancelled")
    strange, forged = told("z-other.0"), told("0-other.0", "wrong")
    assert await over(several, strange, forged, told(nid)).call_back("a", {}, b"") == {"taken": 1}
    for one, status in ((strange, 404), (forged, 403)):
        with pytest.raises(CallerError) as error:
            await over(several, one).call_back("a", {}, b"")
        assert error.value.status == status
    with pytest.raises(CallerError):
        await over(several).call_back("nobody", {}, b"")
    assert await over(several).call_back("a", {}, b"") == {}
