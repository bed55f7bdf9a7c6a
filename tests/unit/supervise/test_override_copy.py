"""A new cell begins with the operators' overrides of the first cell."""

from __future__ import annotations

from typing import Any

from dispatcher.core.plan.values import Override
from dispatcher.supervise.override_copy import copy_overrides, equal_overrides
from tests.unit.stage import Stage, plan_of
from tests.virtual import virtual

CLOSED = Override("a", "open", why="contract ended")


@virtual
async def test_only_a_cell_without_a_plan_gets_the_overrides() -> None:
    """A cell that has a plan is not changed, so an override that ended there does not come back."""
    first, new, old = Stage().control, Stage(), Stage()
    await first.set_override("a", CLOSED)
    old.cell.plan = plan_of(a="closed")
    for stage in (new, old):
        await copy_overrides(first, stage.control)
    assert (await new.control.overrides(), await old.control.overrides()) == ({"a": CLOSED}, {})


@virtual
async def test_an_override_that_changes_meanwhile_is_copied_too() -> None:
    """An operator changes the override in both cells while it is copied. Both cells have the new override then."""
    first, new = Stage().control, Stage().control
    await first.set_override("a", CLOSED)
    later, stored = Override("a", "close", why="works again"), new.set_override

    async def set_override(vendor: str, override: Any) -> None:
        if await first.overrides() == {"a": CLOSED}:
            await first.set_override("a", later)
        await stored(vendor, override)

    new.set_override = set_override  # type: ignore[method-assign]
    await equal_overrides(first, new)
    assert await first.overrides() == await new.overrides() == {"a": later}
