"""An upgrade and the way back on one Redis, beside the version before, under load."""

from __future__ import annotations

import pytest

from benchmarks.rolling_upgrade import run


@pytest.mark.chaos
@pytest.mark.long
def test_an_upgrade_and_the_way_back_lose_and_repeat_nothing() -> None:
    """Steady state: the version before serves. Fault: this one joins, callers move, that one stops, and back.

    Every trigger is accepted, nothing is lost, and under `hold` nothing is repeated. A busy machine may be slow, so
    some triggers are posted again. None gets a final no.
    """
    found = run(20.0, kind="moved", before=None, changes=False)
    assert found["never_accepted"] == found["lost"] == found["repeated"] == found["contradictions"] == 0, found
    assert all(set(one["statuses"]) <= {"0", "503"} for one in found["stretches"]), found
