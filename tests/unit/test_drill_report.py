"""What a drill's figures mean."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.drills.faults import Drill
from cluster.drills.play import Run, Window
from cluster.drills.report import switches_a_minute
from cluster.witness import Verdict


def plan(at_s: float, **takes_new: bool) -> dict[str, Any]:
    return {"at_ms": at_s * 1000, "vendors": {name: {"takes_new": takes} for name, takes in takes_new.items()}}


@pytest.mark.parametrize(
    ("switches_s", "most"),
    [
        pytest.param([], 0, id="never"),
        pytest.param([110, 130], 2, id="away and back"),
        pytest.param([110, 130, 171, 191], 2, id="two within any minute"),
        pytest.param([110, 130, 169], 3, id="a third just within it"),
        pytest.param([90, 95, 110], 1, id="what was before does not count"),
    ],
)
def test_switches_are_counted_in_the_worst_minute(switches_s: list[float], most: int) -> None:
    """Of one vendor; plans that change something else are no switch."""
    history, takes = [plan(0, a=True, b=True)], True
    for at_s in switches_s:
        takes = not takes
        history += [plan(at_s, a=takes, b=True), plan(at_s + 1, a=takes, b=True)]
    assert switches_a_minute(history[::-1], 100.0) == most


def fault(began_s: float, *, kills: bool = True, settles_late: bool = False) -> Window:
    drill = Drill("x", "", 5, lambda service: None, kills=kills, settles_late=settles_late)
    return Window(drill, began_s, began_s + 5)


@pytest.mark.parametrize(
    ("first_s", "windows", "explained"),
    [
        pytest.param(99.7, [fault(100)], True, id="in flight at the kill"),
        pytest.param(99.0, [fault(100)], False, id="long before it"),
        pytest.param(104.0, [fault(100)], False, id="long after it"),
        pytest.param(104.0, [fault(100, settles_late=True)], True, id="sent while nothing is settled"),
        pytest.param(106.0, [fault(100, settles_late=True)], False, id="sent when it is over"),
        pytest.param(99.9, [fault(100, kills=False)], False, id="a vendor's outage explains nothing"),
        pytest.param(99.9, [fault(50, settles_late=True), fault(100, kills=False)], False, id="nor a kill elsewhere"),
    ],
)
def test_a_repeat_is_explained_by_a_kill_that_covered_it(
    first_s: float, windows: list[Window], explained: bool
) -> None:
    """By when the vendors had it first."""
    verdict = Verdict(delivered_at={"N1/sms": first_s}, duplicated={"N1/sms": 2})
    assert (Run([], windows, verdict).repeats_outside(0.5) == []) is explained
