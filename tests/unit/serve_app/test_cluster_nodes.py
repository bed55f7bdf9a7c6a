"""Which machines may have replicas, and that an old answer counts for nothing."""

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
    """A head without CPUs gets no replica, and a lost machine none any more."""
    assert workers(NODES) == {"bbbbbbbb"}


def test_an_old_answer_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Ray's control plane is away nobody knows what lives, so nobody is moved."""
    now_s = [100.0]
    monkeypatch.setattr(cluster_nodes.time, "monotonic", lambda: now_s[0])
    watch = NodeWatch(lambda: NODES)
    assert watch.read() == set()
    watch.look()
    assert watch.read() == {"bbbbbbbb"}
    now_s[0] += cluster_nodes.HOLDS_S
    assert watch.read() == set()
