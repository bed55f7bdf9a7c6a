"""The router sends each trigger to its cell, and never stores a key in two cells."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from dispatcher.accept.intake import Intake, trigger_id
from dispatcher.accept.membership_watch import MembershipWatch
from dispatcher.accept.router import CellIntake, Router
from dispatcher.adapters.memory.cells import MemoryCellMember
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.config.settings import parse_settings
from dispatcher.core.cells.membership import Membership
from dispatcher.core.cells.names import CELL_NAMES
from dispatcher.core.cells.owners import counting_cell, owner
from dispatcher.errors import CallerError, LimitedError, UnavailableError
from dispatcher.ports import CHARGE_KEPT_MS
from dispatcher.templates.cache import TemplateCache
from tests.unit.desk import SETTINGS, body
from tests.unit.stage import Stage
from tests.virtual import virtual

CAP = {"limits": {"accept_deadline_s": 1.0, "recipient_caps": [{"channel": "sms", "max": 2, "per_s": 3_600}]}}


class Cells:
    """Several cells in memory, each with a stage and an intake of its own, and routers before them."""

    def __init__(self, number: int, **settings: Any) -> None:
        self.stages = {cell: Stage() for cell in CELL_NAMES[:number]}
        self.away: set[str] = set()
        self.intakes: dict[str, Intake] = {}
        parsed = parse_settings({**SETTINGS, **settings})
        for cell, stage in self.stages.items():
            store = MemoryStore(stage.cell, templates=stage.template_store)
            self.intakes[cell] = Intake(
                *(parsed, store, stage.views, TemplateCache(stage.template_store)),
                clock=stage.clock,
                metrics=stage.metrics,
                cell=cell,
            )
            stage.start(self.intakes[cell].run())

    def answers(self, cell: str) -> bool:
        return cell not in self.away

    async def router(self, number: int) -> Router:
        """Return a router of a process that knows the first `number` cells."""
        for cell in CELL_NAMES[:number]:
            await self.intakes[cell]._templates.refresh()
        cells = {cell: CellIntake(self.intakes[cell], partial(self.answers, cell)) for cell in CELL_NAMES[:number]}
        router = Router(cells, self.stages["0"].metrics, lambda: 0.5)
        members = [MemoryCellMember(self.stages[cell].cell, cell) for cell in cells]
        await MembershipWatch(members, router, self.stages["0"].clock).look()
        return router

    def raise_to(self, number: int, *cells: str) -> None:
        for cell in cells:
            self.stages[cell].cell.raise_to(number)

    def stored(self) -> dict[str, int]:
        return {cell: len(stage.cell.records) for cell, stage in self.stages.items()}


def keys_of(cell: str, count: int) -> list[str]:
    """Return twenty keys that `cell` owns while `count` cells are in force."""
    return [key for n in range(2_000) if owner("shop", key := f"k{n}", count) == cell][:20]


@virtual
async def test_each_key_goes_to_its_owner_and_back_again() -> None:
    """Triggers with keys are stored in the owners of their keys. A repeated key gets the first answer."""
    cells = Cells(3)
    router = await cells.router(3)
    for cell in "012":
        for key in keys_of(cell, 3):
            done = await router.accept("shop", body(1), key)
            assert done.id == trigger_id("shop", key, cell) and not done.replayed
            assert (await router.accept("shop", body(1), key)).replayed
    assert cells.stored() == {"0": 20, "1": 20, "2": 20}


@virtual
async def test_a_key_of_an_earlier_owner_is_replayed_and_not_stored_again() -> None:
    """A key that was accepted before a cell came is found in its earlier owner. Another body is a conflict."""
    cells = Cells(2)
    old = await cells.router(1)
    keys = keys_of("1", 2)
    for key in keys:
        await old.accept("shop", body(1), key)
    new = await cells.router(2)
    cells.raise_to(2, "0")
    new.count = 2
    for key in keys:
        assert (await new.accept("shop", body(1), key)).id == trigger_id("shop", key, "0")
        with pytest.raises(CallerError):
            await new.accept("shop", body(2), key)
    assert cells.stored() == {"0": 20, "1": 0}


@virtual
async def test_a_router_that_lags_is_told_and_routes_again_within_the_request() -> None:
    """Two cells are in force and a router still counts one: its triggers reach their owners, and it counts two then."""
    cells = Cells(2)
    await (await cells.router(1)).accept("shop", body(1))
    router = await cells.router(2)
    assert router.count == 1
    cells.raise_to(2, "0", "1")
    key = keys_of("1", 2)[0]
    assert (await router.accept("shop", body(1), key)).id == trigger_id("shop", key, "1")
    assert router.count == 2 and cells.stored() == {"0": 1, "1": 1}


@virtual
async def test_an_old_process_cannot_store_a_key_that_has_moved() -> None:
    """After the new owner has accepted a key, a process that knows one cell is refused, and stores nothing."""
    cells = Cells(2)
    old, new = await cells.router(1), await cells.router(2)
    new.count = 2
    key = keys_of("1", 2)[0]
    await new.accept("shop", body(1), key)
    with pytest.raises(UnavailableError, match="knows fewer"):
        await old.accept("shop", body(1), key)
    assert cells.stored() == {"0": 0, "1": 1}


@virtual
async def test_a_cell_that_is_away_refuses_its_keys_and_no_others() -> None:
    """A cell is away: its keys get a 503, also when only the earlier owner is away. Others go on at first try."""
    cells = Cells(3)
    router = await cells.router(3)
    cells.away = {"1"}
    with pytest.raises(UnavailableError, match="cell 1 does not answer"):
        await router.accept("shop", body(1), keys_of("1", 3)[0])
    for key in (*keys_of("0", 3), *keys_of("2", 3)):
        await router.accept("shop", body(1), key)
    for _ in range(20):
        await router.accept("shop", body(1))
    assert cells.stored()["1"] == 0 and sum(cells.stored().values()) == 60


@virtual
async def test_an_earlier_owner_that_is_away_refuses_a_key_that_has_moved() -> None:
    """The earlier owner of a key is away: nobody knows whether it has the key, so the new owner does not accept it."""
    cells = Cells(2)
    await (await cells.router(1)).accept("shop", body(1))
    router = await cells.router(2)
    router.count, cells.away = 2, {"0"}
    with pytest.raises(UnavailableError, match="cell 0 does not answer"):
        await router.accept("shop", body(1), keys_of("1", 2)[0])
    assert cells.stored() == {"0": 1, "1": 0}


@virtual
async def test_a_cap_holds_over_all_cells_and_a_replay_is_not_counted() -> None:
    """Three triggers for one recipient in the cells of two keys: with a cap of two, the third is suppressed.

    A repeat is not counted, also after the counting cell has forgotten its first answer.
    """
    cells = Cells(2, **CAP)
    router = await cells.router(2)
    other = "1" if counting_cell("shop", 2) == "0" else "0"
    first, second = keys_of(other, 2)[:2]
    for _ in range(3):
        assert not (await router.accept("shop", body(1), first)).suppressed
        await asyncio.sleep(2 * CHARGE_KEPT_MS / 1000)
    assert not (await router.accept("shop", body(1), second)).suppressed
    third = await router.accept("shop", body(1), keys_of(counting_cell("shop", 2), 2)[0])
    fourth = await router.accept("shop", body(1), keys_of(other, 2)[3])
    assert len(third.suppressed) == len(fourth.suppressed) == 1


@virtual
async def test_an_accept_rate_holds_over_all_cells() -> None:
    """A tenant with a burst of three gets three accepts over all cells. Each answer has the tenant's quota."""
    cells = Cells(2, tenants={"shop": {"accept_per_s": 0.01, "accept_burst": 3}})
    router = await cells.router(2)
    for n, cell in enumerate("010"):
        done = await router.accept("shop", body(n), keys_of(cell, 2)[n])
        assert done.quota is not None and done.rate is not None
    with pytest.raises(LimitedError):
        await router.accept("shop", body(1), keys_of("1", 2)[5])
    cells.away = {counting_cell("shop", 2)}
    with pytest.raises(UnavailableError):
        await router.accept("shop", body(1), keys_of("1" if cells.away == {"0"} else "0", 2)[6])


@virtual
async def test_a_process_with_one_configured_cell_is_refused_too() -> None:
    """Such a process has no router. Its trigger gets a 503 when a second cell is in force, and nothing is stored."""
    cells = Cells(1)
    await cells.router(1)
    cells.raise_to(2, "0")
    with pytest.raises(UnavailableError, match="knows fewer"):
        await cells.intakes["0"].accept("shop", body(1), "key")
    assert cells.stored() == {"0": 0}


@virtual
async def test_a_process_that_has_learned_of_a_cell_that_it_cannot_reach_refuses() -> None:
    """A process was overlooked when a third cell was put in force. It answers 503, also to a question for a key."""
    cells = Cells(2)
    router = await cells.router(2)
    router.adopt(Membership("one", "0", 3, {2: 0}))
    for ask in (lambda: router.accept("shop", body(1)), lambda: router.accept("shop", body(1), "key")):
        with pytest.raises(UnavailableError, match="knows fewer"):
            await ask()
    with pytest.raises(UnavailableError, match="knows fewer"):
        await router.dry_run("shop", body(1, dry_run=True))
    with pytest.raises(UnavailableError, match="knows fewer"):
        router.places("shop", "key")
    assert cells.stored() == {"0": 0, "1": 0}


@virtual
async def test_nothing_is_sent_to_a_cell_that_has_not_joined() -> None:
    """A cell was away when the process started. It answers again, but it may be the wrong server: it is used only after
    it has told its membership.
    """
    cells = Cells(2)
    known, found = await cells.router(2), {cell: CellIntake(cells.intakes[cell], lambda: True) for cell in "01"}
    router = Router(found, cells.stages["0"].metrics, lambda: 0.9)
    router.adopt(Membership("one", "0", known.count, {2: 0}))
    with pytest.raises(UnavailableError, match="cell 1 does not answer"):
        await router.accept("shop", body(1), keys_of("1", 2)[0])
    assert (await router.accept("shop", body(1))).id.startswith("0")
    router.adopt(Membership("one", "1", known.count, {2: 0}))
    assert (await router.accept("shop", body(1), keys_of("1", 2)[0])).id.startswith("1")


@virtual
async def test_each_answer_is_counted_once() -> None:
    """The answer of an earlier owner is counted as with one cell, and so is a cell that is away."""
    cells = Cells(2, tenants={"shop": {"accept_per_s": 10.0}})
    key = keys_of("1", 2)[0]
    await (await cells.router(1)).accept("shop", body(1), key)
    router = await cells.router(2)
    router.count = 2
    await router.accept("shop", body(1), key)
    with pytest.raises(CallerError):
        await router.accept("shop", body(2), key)
    cells.away = {"0"}
    for tried in keys_of("0", 2)[0], key:
        with pytest.raises(UnavailableError):
            await router.accept("shop", body(1), tried)

    def counted(name: str, *labels: str) -> float:
        return sum(stage.counted(name, *labels) for stage in cells.stages.values())

    answers = ("accepted", "replayed", "refused", "unavailable")
    assert [counted("dispatcher_accepts", answer) for answer in answers] == [1, 1, 1, 2]
    assert counted("dispatcher_tenant_accepts", "shop", "replayed") == 1


@virtual
async def test_a_counting_cell_that_is_away_is_counted_once() -> None:
    """The router and the intake of the trigger's cell both see the error, and one of them counts it."""
    cells = Cells(2, tenants={"shop": {"accept_per_s": 10.0}})
    router = await cells.router(2)
    away = counting_cell("shop", 2)
    cells.away = {away}
    with pytest.raises(UnavailableError):
        await router.accept("shop", body(1), keys_of("1" if away == "0" else "0", 2)[0])
    assert sum(stage.counted("dispatcher_accepts", "unavailable") for stage in cells.stages.values()) == 1
