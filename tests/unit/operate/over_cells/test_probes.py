"""The answers to probes over several cells: sums, the worst of all cells, and which cell is away."""

from __future__ import annotations

import pytest

from dispatcher.core.plan.messages import Sums
from dispatcher.core.plan.values import Report
from dispatcher.errors import UnavailableError
from dispatcher.operate.over_cells.probes import ProbesOverCells
from tests.unit.operate.over_cells.two_cells import OneCell, SeveralCells
from tests.unit.stage import plan_of
from tests.virtual import virtual


def over(several: SeveralCells) -> ProbesOverCells:
    return ProbesOverCells(several.parts(OneCell.probes))


async def samples(several: SeveralCells) -> dict[str, float]:
    """Return the samples of /metrics, by name with labels."""
    text = (await over(several).metrics_text()).decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


@virtual
async def test_metrics_are_summed_by_labels() -> None:
    """Counters, depths and calls of both cells are added up. What is about one Redis or one plan keeps its cell."""
    several = SeveralCells()
    for name, count in (("0", 2), ("1", 3)):
        cell = several[name]
        await cell.accept(count)
        cell.fleet.hear(Report(f"a/{name}", "a", "closed", in_flight=count))
        cell.fleet.hear(Sums({"c": [["dispatcher_attempts", ["a", "accepted"], count]], "h": []}))
    found = await samples(several)
    assert found['dispatcher_attempts_total{outcome="accepted",vendor="a"}'] == 5
    assert found['dispatcher_mailbox_depth{lane="normal",mailbox="a"}'] == 5
    assert found['dispatcher_calls{vendor="a",which="in_flight"}'] == 5
    assert found['dispatcher_store_memory_bytes{cell="1"}'] == 10
    assert found['dispatcher_plan_epoch{cell="0"}'] == 1
    assert [found[f'dispatcher_cell_up{{cell="{name}"}}'] for name in "01"] == [1, 1]


@virtual
async def test_a_state_is_the_worst_of_all_cells() -> None:
    """Exactly one state of a vendor is 1, and a channel counts the vendors that work in every cell."""
    several = SeveralCells()
    several["1"].plan = plan_of(a="open", b="closed", m="closed")
    found = await samples(several)
    states = {name: value for name, value in found.items() if name.startswith("dispatcher_breaker_state{")}
    assert sorted(name for name, value in states.items() if value) == [
        'dispatcher_breaker_state{state="closed",vendor="b"}',
        'dispatcher_breaker_state{state="closed",vendor="m"}',
        'dispatcher_breaker_state{state="open",vendor="a"}',
    ]
    assert found['dispatcher_channel_vendors{channel="sms"}'] == 1


@virtual
async def test_a_cell_that_is_away_is_a_gauge_a_warning_and_a_field() -> None:
    """The counters keep the last counts of the cell that is away, so that they do not fall."""
    several = SeveralCells()
    for name in "01":
        several[name].fleet.hear(Sums({"c": [["dispatcher_attempts", ["a", "accepted"], 2]], "h": []}))
    assert over(several).health()["cells_away"] == []
    several["1"].silence()
    several.known_away = {"1"}
    health, found = over(several).health(), await samples(several)
    assert health["cells_away"] == ["1"]
    assert health["warnings"] == ["cell 1 is away: requests that need it are answered 503"]
    assert (found['dispatcher_cell_up{cell="0"}'], found['dispatcher_cell_up{cell="1"}']) == (1, 0)
    assert found['dispatcher_attempts_total{outcome="accepted",vendor="a"}'] == 4
    assert 'dispatcher_store_memory_bytes{cell="1"}' not in found
    several["0"].silence()
    with pytest.raises(UnavailableError, match="no cell answers"):
        await samples(several)


@virtual
async def test_a_warning_that_all_cells_have_is_told_once() -> None:
    """A warning about the whole replica is told once. A warning about one cell begins with its name."""
    several = SeveralCells()
    several["1"].breaks.warnings = ["lost"]
    health = ProbesOverCells(several.parts(lambda cell: cell.probes(("at start",)))).health()
    assert health["warnings"] == ["at start", "cell 1: lost"]


@virtual
async def test_one_cell_that_accepts_is_enough_to_be_ready() -> None:
    several = SeveralCells()
    several["0"].intake.nearly_full = True
    assert over(several).not_ready() is None
    several["1"].intake.started = False
    reasons = "cell 0: the store is nearly full; cell 1: templates are not loaded yet"
    assert over(several).not_ready() == reasons
