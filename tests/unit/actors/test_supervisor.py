"""A supervisor that may not be the only one begins its work only after the other supervisor has been silent for a
while. Over several cells, the contract rates are divided, and a cell is prepared before its first plan.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.assembly import courier_limits
from actors.supervisor import PATIENCE_S, SupervisorActor, joined, overrides_copied, patience_s, plan_config
from dispatcher.adapters.memory.cells import MemoryCellMember
from dispatcher.config.settings import parse_settings
from dispatcher.core.plan.values import Override
from tests.unit.operate.over_cells.two_cells import Silence
from tests.unit.stage import Stage
from tests.virtual import virtual


@pytest.mark.parametrize(
    ("runtime", "expected_s"),
    [({}, 0.0), ({"shared_store": ""}, 0.0), ({"shared_store": "yes"}, PATIENCE_S), ({"cluster": "yes"}, PATIENCE_S)],
)
def test_it_stands_by_where_there_may_be_another(runtime: dict[str, str], expected_s: float) -> None:
    """A supervisor that starts on a shared store or on a cluster waits `PATIENCE_S` seconds for another supervisor. On
    a private Redis it does not wait.
    """
    assert patience_s(runtime) == expected_s


@pytest.mark.parametrize(("cells", "rate_per_s", "calls"), [(1, 90.0, 12), (2, 45.0, 6), (3, 30.0, 4), (16, 5.625, 1)])
def test_a_contract_is_divided_among_the_cells(cells: int, rate_per_s: float, calls: int) -> None:
    """The plan and the courier of each cell have an equal part of the rate and of the calls at once, at least one call.

    A vendor without a contract rate has none in any cell.
    """
    vendor = {"adapter": "twilio", "channel": "sms", "concurrency_min": 1, "concurrency_max": 12}
    settings = parse_settings(
        {
            "vendors": {"a": {**vendor, "rate_per_s": 90.0}, "b": vendor},
            "routes": [{"channel": "sms", "chain": ["a", "b"]}],
            "store": {"cells": [f"file:/{n}" for n in range(1, cells)]},
        }
    )
    for name, rate in (("a", rate_per_s), ("b", None)):
        planned = plan_config(settings).vendors[name]
        limits = courier_limits(settings.vendors[name], settings.courier, cells=cells)
        assert (planned.rate_per_s, limits.rate_per_s) == (rate, rate)
        assert planned.concurrency_max == limits.concurrency_max == calls


@pytest.mark.parametrize("first", [True, False])
@virtual
async def test_the_supervisor_of_each_cell_knows_the_free_cpus(first: bool) -> None:
    """The plan of each cell says that a vendor has no actor, because no machine has as many CPUs free as one reserves.

    Only the supervisor of the first cell moves replicas.
    """
    settings = {
        "vendors": {"a": {"adapter": "twilio", "channel": "sms"}},
        "routes": [{"channel": "sms", "chain": ["a"]}],
    }
    stage, runtime = Stage(), {"cluster": "yes", "vendor_cpus": "0.25"}
    actor = SupervisorActor(settings, runtime, {}, nodes=lambda: {"n1"}, free_cpus=lambda: {"n1": 0.2})
    supervisor = actor._supervise(stage.control, first=first)
    supervisor._clock = stage.clock
    stage.start(supervisor.run())
    await asyncio.sleep(36.0)
    assert supervisor.plan.unmanned == {"a": "no_cpu"}
    assert bool(supervisor._nodes()) is first


class Member(Silence):
    """A membership whose server can be away."""

    def __init__(self, stage: Stage, cell: str) -> None:
        super().__init__(MemoryCellMember(stage.cell, cell))
        self.cell = cell


@virtual
async def test_cells_join_before_the_first_term_and_nobody_waits_for_a_further_one() -> None:
    """The supervisor waits for the first cell. Once that has joined, other cells are not even asked."""
    first, second = Stage(), Stage()
    members: list[Any] = [Member(first, "0"), Member(second, "1")]
    members[0].on = True
    waiting = first.start(joined(members, first.clock))
    await asyncio.sleep(5.0)
    assert not waiting.done() and second.cell.memberships == {}
    members[0].on = False
    await asyncio.wait_for(waiting, 1.0)
    assert (first.cell.count, list(second.cell.memberships)) == (2, ["1"])
    members[1] = None
    await joined(members, first.clock)


@virtual
async def test_a_new_cell_gets_its_overrides_as_soon_as_the_first_cell_answers() -> None:
    first, new, closed = Stage(), Stage(), Override("a", "open", why="contract ended")
    await first.control.set_override("a", closed)
    control: Any = Silence(first.control)
    control.on = True
    copying = first.start(overrides_copied(control, new.control, first.clock))
    await asyncio.sleep(5.0)
    assert not copying.done()
    control.on = False
    await asyncio.wait_for(copying, 1.0)
    assert await new.control.overrides() == {"a": closed}
