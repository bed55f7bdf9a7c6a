"""The operators' view of the vendors over several cells. Each cell has a plan and breakers of its own."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dispatcher.core.json_object import JsonObject
from dispatcher.core.plan.values import ABSENT, CLOSED, FORCED_OPEN, HALF_OPEN, OPEN, QUARANTINED, Override, Plan
from dispatcher.operate.over_cells.cells import Cells
from dispatcher.operate.vendors import BreakerView, Vendors, VendorView

WORST_FIRST = (FORCED_OPEN, OPEN, QUARANTINED, ABSENT, HALF_OPEN, "unknown", CLOSED)
"""The states of a vendor in a plan. The merged view of a vendor has the first of these that it has in any cell."""


@dataclass(frozen=True, slots=True)
class CellBreakerView(BreakerView):
    """The breaker and the load of one actor in one cell."""

    cell: str


class VendorsOverCells:
    """Shows the vendors and the plans, and stores operators' overrides. The methods are those of `Vendors`."""

    def __init__(self, cells: Cells[Vendors]) -> None:
        self._cells = cells

    async def all(self) -> list[VendorView]:
        """Return the merged view of every configured vendor. Raises UnavailableError if no cell answers."""
        found = await self._cells.ask_some(lambda part: part.all())
        rows = zip(*found.values(), strict=True)
        return [merge_views(dict(zip(found, row, strict=True))) for row in rows]

    async def one(self, name: str) -> VendorView:
        """Return the merged view of one vendor. Raises CallerError (404) and UnavailableError."""
        return merge_views(await self._cells.ask_some(lambda part: part.one(name)))

    async def override(self, override: Override, for_s: int | None) -> Override:
        """Store an override in every cell, as `Vendors.override` does in one.

        Raises UnavailableError, which names a cell, if a cell does not answer. The override is then stored in the cells
        that do, and the call may be repeated.
        """
        stored = await self._cells.ask_all(lambda part: part.override(override, for_s))
        return next(iter(stored.values()))

    def plan(self) -> Plan:
        """Return the plan of the first cell. `plans` returns the plans of all cells."""
        return self._cells[next(iter(self._cells))].plan()

    def plans(self) -> dict[str, Plan]:
        """Return the plan of each cell, by cell."""
        return {cell: self._cells[cell].plan() for cell in self._cells}

    async def plan_history(self, limit: int) -> list[JsonObject]:
        """Return up to `limit` plans of all cells, the newest first, each with its `cell`. Raises UnavailableError."""
        found = await self._cells.ask_some(lambda part: part.plan_history(limit))
        rows: list[dict[str, Any]] = [{**plan, "cell": cell} for cell, plans in found.items() for plan in plans]
        rows.sort(key=lambda plan: -plan["at_ms"])
        return [*rows[: max(limit, 1)]]


def merge_views(views: Mapping[str, VendorView]) -> VendorView:
    """Return one view of a vendor from its views in the cells: the worst state, and the sums of all numbers.

    The reason is that of the cell with the worst state, and names this cell. An actor has a breaker in each cell, and
    counts as one replica.
    """
    rows = list(views.values())
    worst = min(views, key=lambda cell: _rank(views[cell].state))
    reason = views[worst].reason
    breakers = tuple(_of_cell(cell, breaker) for cell, view in views.items() for breaker in view.breaker)
    return VendorView(
        name=rows[0].name,
        channel=rows[0].channel,
        adapter=rows[0].adapter,
        state=views[worst].state,
        accepts_new=all(view.accepts_new for view in rows),
        drains=tuple(dict.fromkeys(name for view in rows for name in view.drains)),
        reason=f"cell {worst}: {reason}" if reason else "",
        override=next((view.override for view in rows if view.override is not None), None),
        undrained=next((f"cell {cell}: {view.undrained}" for cell, view in views.items() if view.undrained), None),
        breaker=breakers,
        replicas=max(view.replicas for view in rows),
        queued=sum(view.queued for view in rows),
        lanes=_sum(view.lanes for view in rows),
        claimed=sum(view.claimed for view in rows),
        waiting=sum(view.waiting for view in rows),
        places=_sum(view.places for view in rows),
        oldest_age_ms=max(view.oldest_age_ms for view in rows),
        next_try_ms=_earliest([view.next_try_ms for view in rows]),
        attempts=_sum(view.attempts for view in rows),
    )


def _of_cell(cell: str, breaker: BreakerView) -> CellBreakerView:
    known = {field.name: getattr(breaker, field.name) for field in dataclasses.fields(BreakerView)}
    return CellBreakerView(**known, cell=cell)


def _rank(state: str) -> int:
    return WORST_FIRST.index(state) if state in WORST_FIRST else WORST_FIRST.index("unknown")


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for count in counts:
        total.update(count)
    return dict(total)


def _earliest(times_ms: Sequence[int | None]) -> int | None:
    return min((at_ms for at_ms in times_ms if at_ms is not None), default=None)
