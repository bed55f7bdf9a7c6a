"""An upgrade under load, and the way back: two versions run beside each other on one Redis."""

from __future__ import annotations

import pytest

from benchmarks.rolling_upgrade import run


@pytest.mark.chaos
@pytest.mark.long
def test_an_upgrade_and_the_way_back_lose_and_repeat_nothing() -> None:
    """Under load, a new version starts beside the previous version, callers move to the new version, and the previous
    version stops.

    Then the way back is taken in the same steps. Every trigger is accepted, nothing is lost, and under `hold` nothing
    is repeated. A busy machine may be slow, so some triggers are posted again, but none is refused for good.
    """
    found = run(20.0, kind="moved", before=None, changes=False)
    assert found["never_accepted"] == found["lost"] == found["repeated"] == found["contradictions"] == 0, found
    assert all(set(one["statuses"]) <= {"0", "503"} for one in found["stretches"]), found
