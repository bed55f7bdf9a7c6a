"""A deployed service gets a second Redis server under load, and then loses a worker and that Redis server."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from cluster.rehearsal.drills.play import fresh_checkouts
from dispatcher.adapters.redis.keys import Keys
from dispatcher.core.cells.names import cell_of
from dispatcher.core.cells.owners import owner
from tests.cluster import faults
from tests.cluster.machines import Machine
from tests.cluster.rig import NODES, PASSWORD, Rig, Run

pytestmark = pytest.mark.cluster

SECOND = "redis-1"
URL_FILE = "/tmp/cell-1"
TENANT = "shop"
"""The tenant of the API key that `Rig.make_key` makes."""


def add_cell(config: dict[str, Any]) -> None:
    config["store"] = {"cells": [f"file:{URL_FILE}"]}


def in_force(rig: Rig) -> int:
    """Return the number of cells in force that the first cell knows."""
    return int(rig.client().hget(Keys().cells, "n") or 1)


def cells_of(run: Run) -> Counter[str | None]:
    """Return how many accepted triggers went to each cell. The first character of an id names its cell."""
    return Counter(cell_of(row.trigger_id or "-") for row in run.rows)


def problems(run: Run) -> Counter[str]:
    """Return how often each problem was the last one of a trigger."""
    return Counter(row.problem for row in run.rows if row.problem)


def test_a_cluster_gets_a_second_cell_under_load_and_loses_a_worker(cluster: Rig) -> None:
    """A cell is added by `deploy` under load. Then the worker of the first SMS vendor is powered off.

    Nothing is lost in either cell, and under `hold` nothing is repeated. When the second cell's Redis is gone, the
    first cell still accepts, and keys of the second cell get 503.
    """
    store = cluster.store_machine
    cluster.start_redis(SECOND, 6381, "always")
    for name in (*NODES, "outside"):
        url = f"redis://:{PASSWORD}@{store.address}:6381/0"
        (cluster.machines[name].disk / URL_FILE.removeprefix("/tmp/")).write_text(url)
    cluster.until(lambda: faults.spread(cluster), 90, "spread over both workers")

    cluster.write_config(edit=add_cell)
    cluster.stores.append(SECOND)

    def deploy() -> None:
        done = cluster.dispatcher(*cluster.DEPLOY)
        assert done.returncode == 0, done.stdout + done.stderr + cluster.logs()
        cluster.until(lambda: in_force(cluster) == 2, 120, "two cells are in force")

    run = faults.load(cluster, "hold", 100.0, (faults.LEAD_S, "deploy", deploy), (0.0, "in force", lambda: None))
    found = faults.measured("a cell added", run, [cluster.w1, cluster.w2], run.marks["deploy"])
    print(found, cells_of(run), run.marks["in force"] - run.marks["deploy"], problems(run))
    assert (found.lost, found.repeated, found.contradictions, found.refused) == (0, 0, 0, 0), found
    cluster.until(lambda: faults.spread(cluster), 120, "spread over both workers again")

    off = faults.worker_off(cluster, "hold", load_s=20.0, returns=False)
    print(off)
    assert (off.lost, off.repeated, off.contradictions, off.refused) == (0, 0, 0, 0), off

    cluster.client(SECOND).shutdown(nosave=True)
    hosts = [machine for machine in (cluster.w1, cluster.w2) if machine.on]
    cluster.until(lambda: answers(cluster, hosts[0])["1"] == {503}, 60, "the second cell is known to be away")
    for _ in range(5):
        assert answers(cluster, hosts[0]) == {"0": {202}, "1": {503}}


def answers(rig: Rig, host: Machine) -> dict[str, set[int]]:
    """Post 20 new triggers and return the statuses of the answers for each cell that owns a key."""
    found: dict[str, set[int]] = {}
    for key, body in fresh_checkouts(20):
        status, _ = rig.ask("/v1/triggers", host, method="POST", body=body, idempotency_key=key)
        found.setdefault(owner(TENANT, key, 2), set()).add(status)
    return found
