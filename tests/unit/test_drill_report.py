"""What a drill's figures mean."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.drills.report import switches_a_minute


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
