"""What an actor does for those who have nobody: what is due, what has expired."""

from __future__ import annotations

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.caretaker import NO_PLAN_WAIT_MS, Caretaker
from dispatcher.core.plan import Plan
from tests.unit.stage import ScriptedVendor, Stage, plan_of
from tests.virtual import virtual


async def caretaker(stage: Stage, plan: Plan | None = None, vendors: str = "a") -> Caretaker:
    """Of an actor of vendor a that is configured with `vendors`, and does nothing of itself."""
    courier = await stage.courier(ScriptedVendor("a"), run=False)
    if plan is not None:
        courier.adopt_plan(plan)
    return Caretaker(courier, MemoryStore(stage.cell), stage.clock, frozenset(vendors))


async def due(stage: Stage, chain: str) -> str:
    """Something that waits in `due`, and whose time has come."""
    (nid,) = await stage.accept(1, vendor=chain[0], chain=tuple(chain), send_at_ms=stage.clock.wall_ms() - 1)
    return nid


@virtual
async def test_an_actor_of_before_a_change_condemns_nothing_that_the_plan_knows() -> None:
    """A vendor was added: triggers for it come while actors of the file before still look after what is due."""
    stage = Stage()
    nid = await due(stage, "n")
    await (await caretaker(stage, plan_of(a="closed", n="closed"))).promote()
    assert (stage.state(nid), stage.cell.found(nid)[1].vendor) == ("queued", "n")


@virtual
async def test_a_chain_that_nobody_knows_is_dead() -> None:
    """Removed from plan and file: redrive it when there is a vendor again. Without a plan nothing is decided."""
    stage = Stage()
    nid = await due(stage, "n")
    await (await caretaker(stage)).promote()
    assert stage.state(nid) == "delayed"
    assert stage.cell.delayed[nid] == stage.clock.wall_ms() + NO_PLAN_WAIT_MS
    stage.cell.delayed[nid] = stage.clock.wall_ms()
    await (await caretaker(stage, plan_of(a="closed"))).promote()
    assert (stage.state(nid), stage.cell.found(nid)[1].reason) == ("dead", "no_vendor")
