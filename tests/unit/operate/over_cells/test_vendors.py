"""The view of a vendor over several cells has the worst state and the sums of all numbers."""

from __future__ import annotations

import pytest

from dispatcher.core.plan.messages import Sums
from dispatcher.core.plan.values import Override, Report
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate.over_cells.missing_cells import collected
from dispatcher.operate.over_cells.vendors import CellBreakerView, VendorsOverCells
from tests.unit.operate.over_cells.two_cells import SeveralCells
from tests.unit.stage import plan_of
from tests.virtual import virtual


def over(several: SeveralCells) -> VendorsOverCells:
    return VendorsOverCells(several.parts(lambda cell: cell.vendors()))


def attempts(count: int) -> Sums:
    return Sums({"c": [["dispatcher_attempts", ["a", "accepted"], count]], "h": []})


@virtual
async def test_a_vendor_is_merged() -> None:
    """Vendor `a` is closed in one cell and open in the other. Its actor is one replica with a breaker in each cell."""
    several = SeveralCells()
    several["1"].plan = plan_of(a="open", b="closed", m="closed")
    for name, count in (("0", 2), ("1", 3)):
        cell = several[name]
        await cell.accept(count)
        cell.fleet.hear(Report(f"a/{name}", "a", "closed", in_flight=count, replica="r1"))
        cell.fleet.hear(attempts(count))
    view = await over(several).one("a")
    assert (view.state, view.accepts_new, view.replicas) == ("open", False, 1)
    assert (view.queued, view.waiting, view.places["queued"], view.attempts) == (5, 5, 5, {"accepted": 5})
    assert [(one.cell, one.in_flight) for one in view.breaker if isinstance(one, CellBreakerView)] == [
        ("0", 2),
        ("1", 3),
    ]
    assert [one.name for one in await over(several).all()] == ["a", "b", "m"]
    with pytest.raises(CallerError) as error:
        await over(several).one("nobody")
    assert error.value.status == 404


@virtual
async def test_a_cell_that_is_away_is_left_out_of_the_numbers() -> None:
    several = SeveralCells()
    for name in "01":
        await several[name].accept(2)
    several["0"].silence()
    with collected() as missing:
        assert ((await over(several).one("a")).queued, missing) == (2, {"0"})
    several["1"].silence()
    with pytest.raises(UnavailableError, match="no cell answers"):
        await over(several).all()


@virtual
async def test_an_override_is_stored_in_every_cell() -> None:
    """While a cell is away the call fails and names it. The other cell has the override, and a repeat completes it."""
    several = SeveralCells()
    wanted = Override("a", "open", why="test")
    several["1"].silence()
    with pytest.raises(UnavailableError, match="cell 1"):
        await over(several).override(wanted, 60)
    assert list(await several["0"].stage.control.overrides()) == ["a"]
    several["1"].silence(False)
    kept = await over(several).override(wanted, 60)
    stored = [await cell.stage.control.overrides() for cell in several.cells.values()]
    assert stored == [{"a": kept}, {"a": kept}]


@virtual
async def test_plans_are_shown_by_cell() -> None:
    """The history has the plans of all cells, newest first, each with its cell, and no more than were asked for."""
    several = SeveralCells()
    for name, at_ms in (("0", [10, 30]), ("1", [20, 40])):
        several[name].stage.cell.plans = [{"epoch": 1, "at_ms": moment} for moment in reversed(at_ms)]
    history = await over(several).plan_history(3)
    assert [(plan["cell"], plan["at_ms"]) for plan in history] == [("1", 40), ("0", 30), ("1", 20)]
    assert list(over(several).plans()) == ["0", "1"]
    assert several["0"].vendors().plans() == {}
