"""The one cluster test that every run of CI makes: deploy on two workers, then lose one of them under load."""

from __future__ import annotations

import pytest

from tests.cluster import faults
from tests.cluster.rig import Rig

pytestmark = pytest.mark.cluster


def test_one_of_two_workers_is_lost(cluster: Rig) -> None:
    """One of two workers is powered off.

    The other worker accepts and delivers everything, and under `hold` nothing is sent twice.
    """
    cluster.until(lambda: faults.spread(cluster), 180, "spread over both workers")
    found = faults.worker_off(cluster, "hold", load_s=14.0, returns=False)
    print(found)
    assert (found.lost, found.repeated, found.contradictions, found.refused) == (0, 0, 0, 0), found
