"""A trigger is found and cancelled in the cell that its id names."""

from __future__ import annotations

import pytest

from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate.over_cells.triggers import TriggersOverCells
from tests.unit.operate.over_cells.two_cells import SeveralCells
from tests.virtual import virtual


def over(several: SeveralCells) -> TriggersOverCells:
    """Return the operations. A key may have a trigger in cell 1, or, from before cell 1 was added, in cell 0."""
    return TriggersOverCells(several.parts(lambda cell: cell.triggers()), lambda tenant, key: [f"1-{key}", f"0-{key}"])


@virtual
async def test_an_id_goes_to_its_cell() -> None:
    """Both cells have a trigger. Each is found and cancelled by its id, while the other cell is away."""
    several = SeveralCells()
    for here, away in (("0", "1"), ("1", "0")):
        (nid,) = await several[here].accept()
        tid = nid.removesuffix(".0")
        several[away].silence()
        assert (await over(several).find("shop", tid)).id == tid
        assert [one.result for one in await over(several).cancel("shop", tid)] == ["cancelled"]
        several[away].silence(False)


@virtual
async def test_an_unknown_cell_is_404_and_a_cell_that_is_away_503() -> None:
    several = SeveralCells()
    for tid in ("2-abc", "", "x"):
        with pytest.raises(CallerError) as error:
            await over(several).find("shop", tid)
        assert error.value.status == 404
    several.known_away = {"1"}
    with pytest.raises(UnavailableError, match="cell 1 is away"):
        await over(several).cancel("shop", "1-abc")


@virtual
async def test_a_key_is_looked_for_in_every_cell_that_owned_it() -> None:
    """A trigger from before cell 1 was added is found in cell 0 by its key."""
    several = SeveralCells()
    await several["0"].stage.accept(1, id="0-order")
    assert (await over(several).find_by_key("shop", "order")).id == "0-order"
    with pytest.raises(CallerError) as error:
        await over(several).find_by_key("shop", "other")
    assert error.value.status == 404


@virtual
async def test_a_key_is_not_called_unknown_while_a_cell_is_away() -> None:
    """Cell 0 is away, so the trigger may be there: the answer is 503 and not 404. A trigger of cell 1 is found."""
    several = SeveralCells()
    await several["1"].stage.accept(1, id="1-new")
    several["0"].silence()
    with pytest.raises(UnavailableError):
        await over(several).find_by_key("shop", "order")
    assert (await over(several).find_by_key("shop", "new")).id == "1-new"
