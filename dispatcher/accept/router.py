"""Sends each trigger to its cell, if an installation has several cells (`core.cells`).

A trigger with a key goes to the owner of its key, and never to another cell: if the owner does not answer, the caller
gets a 503. A trigger without a key goes to any cell that answers. The number of cells in force is learned from the
cells themselves. If a cell knows of more cells than this router, the trigger is routed again within the same request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from dispatcher.accept.accepted import Accepted
from dispatcher.accept.intake import Intake, trigger_id
from dispatcher.accept.preparation import Prepared
from dispatcher.accept.route import MovedError, Route
from dispatcher.core.cells.membership import Membership
from dispatcher.core.cells.names import CELL_NAMES
from dispatcher.core.cells.owners import counting_cell, earlier_owners, owner
from dispatcher.core.life.notification import NewTrigger
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.ports import Charged
from dispatcher.telemetry.metrics import Metrics
from dispatcher.wire.trigger import body_hash, read_trigger


@dataclass(frozen=True, slots=True)
class CellIntake:
    """The intake of one cell. `answers` returns True if the cell's store has answered lately."""

    intake: Intake
    answers: Callable[[], bool]


class Router:
    """Accepts triggers over several cells. It is used like the `Intake` of one cell."""

    def __init__(
        self, cells: Mapping[str, CellIntake], metrics: Metrics, chance: Callable[[], float], patience_s: float = 1.0
    ) -> None:
        """Prepare to route. `cells` are all configured cells by name, in their order.

        `metrics` counts the triggers that reach no cell. `patience_s` is the wait that a caller is asked for if a cell
        does not answer.
        """
        self._cells, self._metrics, self._chance, self._patience_s = cells, metrics, chance, patience_s
        self._first = 0  # not known yet
        self._there: set[str] = set()  # cells that have told that they belong to this installation
        self.count = 1

    @property
    def knows(self) -> bool:
        """Return True if any cell has told what it knows of the installation. Before that, nothing is accepted."""
        return self._first > 0

    def adopt(self, membership: Membership) -> None:
        """Use what a cell knows of the installation. The number of cells in force only grows.

        Nothing is sent to a cell before this: its server may turn out to be that of another installation.
        """
        self._there.add(membership.cell)
        self._first = membership.first
        self.count = max(self.count, membership.count)

    def check_started(self) -> None:
        """Raise UnavailableError if nothing can be accepted yet."""
        if not self.knows:
            raise UnavailableError("starting: no cell was read yet")
        if not any(cell.intake.started for cell in self._cells.values()):
            raise UnavailableError("starting: the store was not read yet")

    def places(self, tenant: str, key: str) -> tuple[str, ...]:
        """Return the cells where the trigger of this tenant with this key may be, the most likely first.

        Also cells that get keys only when all configured cells are in force are among them: other processes may have
        learned the new number before this one. Raises UnavailableError if more cells are in force than are configured
        here.
        """
        every, first = len(self._cells), max(1, self._first)
        if self.count > every:
            raise UnavailableError(self._knows_fewer(), self._patience_s)
        now = owner(tenant, key, self.count)
        return tuple(dict.fromkeys((now, owner(tenant, key, every), *earlier_owners(tenant, key, first, every))))

    async def accept(self, tenant: str, body: Any, header_key: str | None = None) -> Accepted:
        """Store one trigger in its cell, and return the answer when the trigger is durable.

        Raises CallerError (nothing is stored) or UnavailableError (maybe stored: send it again with the same key).
        """
        key = _key(body, header_key)
        for _ in CELL_NAMES:  # the number of cells grows each time, so this ends
            try:
                return await self._accept(tenant, body, key, header_key)
            except MovedError as moved:
                self.count = max(self.count, moved.cells)
        with self._counted():
            raise self._unavailable("the number of cells changes")

    async def _accept(self, tenant: str, body: Any, key: str | None, header_key: str | None) -> Accepted:
        with self._counted():
            count = self._known_count()
            if key is not None:
                first = await self._replayed(tenant, body, key, count)
                if first is not None:
                    return first
            cell = self._any(count) if key is None else owner(tenant, key, count)
            intake = self._answering(cell).intake
        counting = counting_cell(tenant, self._first)
        charge = None if counting == cell else partial(self._charge, counting)
        return await intake.accept(tenant, body, header_key, Route(count, charge))

    async def _replayed(self, tenant: str, body: Any, key: str, count: int) -> Accepted | None:
        """Return the first answer to this key from an earlier owner, or None if no earlier owner has the key.

        Afterwards no earlier owner accepts the key any more. Raises UnavailableError if an earlier owner is away.
        """
        earlier = earlier_owners(tenant, key, self._first, count)
        if not earlier:
            return None
        try:
            digest = body_hash(read_trigger(body))
        except CallerError:
            return None  # the owner refuses this body with the same words
        for cell in earlier:
            intake = self._answering(cell).intake
            first = await intake.replay(trigger_id(tenant, key, cell), digest, count)
            if first is not None:
                intake.count(tenant, "replayed")
                return first
        return None

    async def _charge(self, cell: str, trigger: NewTrigger) -> Charged:
        return await self._answering(cell).intake.questions.charge(trigger)

    async def dry_run(self, tenant: str, body: Any, header_key: str | None = None) -> Prepared:
        """Return the trigger that this body would become now, as `Intake.dry_run` does."""
        key = _key(body, header_key)
        with self._counted():
            count = self._known_count()
            intake = self._answering(self._any(count) if key is None else owner(tenant, key, count)).intake
        return await intake.dry_run(tenant, body, header_key)

    def _known_count(self) -> int:
        """Return the number of cells in force. Raises UnavailableError if this process does not know all of them."""
        if self.count > len(self._cells):
            raise self._unavailable(self._knows_fewer())
        return self.count

    def _knows_fewer(self) -> str:
        return f"{self.count} cells are in force, and this replica knows fewer"

    def _answering(self, cell: str) -> CellIntake:
        """Return the cell. Raises UnavailableError if it does not answer."""
        found = self._cells[cell]
        if not self._usable(cell) or not found.intake.started:
            raise self._unavailable(f"cell {cell} does not answer")
        return found

    def _any(self, count: int) -> str:
        """Return a random cell of those that take new triggers. Raises UnavailableError if there is none."""
        there = [name for name in CELL_NAMES[:count] if self._usable(name)]
        ready = [name for name in there if (intake := self._cells[name].intake).started and not intake.nearly_full]
        if not ready:
            raise self._unavailable("no cell has room" if there else "no cell answers")
        return ready[int(self._chance() * len(ready))]

    def _usable(self, cell: str) -> bool:
        return cell in self._there and self._cells[cell].answers()

    def _unavailable(self, why: str) -> UnavailableError:
        return UnavailableError(why, self._patience_s)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count the refusals of what is done here. The intake of a cell counts its own answers."""
        try:
            yield
        except CallerError:
            self._metrics.count("dispatcher_accepts", "refused")
            raise
        except UnavailableError:
            self._metrics.count("dispatcher_accepts", "unavailable")
            raise


def _key(body: Any, header_key: str | None) -> str | None:
    """Return the idempotency key by which the trigger is routed. A body without a valid key is refused by its cell."""
    own = body.get("idempotency_key") if isinstance(body, dict) else None
    return header_key if header_key is not None else own if isinstance(own, str) else None
