"""An upgrade and the way back on one Redis, beside the version before, under load."""

from __future__ import annotations

import pytest

from benchmarks.rolling_upgrade import run


@pytest.mark.chaos
@pytest.mark.parametrize("told", [False, True], ids=["callers find out", "callers are moved"])
def test_an_upgrade_and_the_way_back_lose_and_repeat_nothing(told: bool) -> None:
    """Steady state: the version before serves. Fault: this one joins, that one is stopped, and back again.

    Every trigger is accepted, nothing is lost, and under `hold` nothing is repeated.
    """
    found = run(20.0, told=told, before=None, changes=False)
    assert found["never_accepted"] == found["lost"] == found["repeated"] == found["contradictions"] == 0, found
    if told:
        assert all(set(one["statuses"]) <= {0, 503} for one in found["stretches"]), "slow at most, never a final no"
