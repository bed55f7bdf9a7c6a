"""Only living machines with CPUs may run replicas, and an old answer of Ray is not used."""

from __future__ import annotations

import pytest

from serve_app import cluster_nodes
from serve_app.cluster_nodes import NodeWatch, workers

NODES = [
    {"NodeID": "aaaaaaaa" + "0" * 48, "Alive": True, "Resources": {"node:__internal_head__": 1.0}},
    {"NodeID": "bbbbbbbb" + "0" * 48, "Alive": True, "Resources": {"CPU": 4.0}},
    {"NodeID": "cccccccc" + "0" * 48, "Alive": False, "Resources": {"CPU": 4.0}},
]


def test_only_living_machines_with_cpus_count() -> None:
    """Only a living machine with CPUs counts as a worker. A head without CPUs and a lost machine do not."""
    assert workers(NODES) == {"bbbbbbbb"}


def test_an_old_answer_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's answer is older than `HOLDS_S`. It is not used, so no machine counts as known, and no replica is moved."""
    now_s = [100.0]
    monkeypatch.setattr(cluster_nodes.time, "monotonic", lambda: now_s[0])
    watch = NodeWatch(lambda: NODES)
    assert watch.read() == set()
    watch.look()
    assert watch.read() == {"bbbbbbbb"}
    now_s[0] += cluster_nodes.HOLDS_S
    assert watch.read() == set()
