"""Only living machines with CPUs may run replicas, and an old answer of Ray is not used."""

from __future__ import annotations

from typing import Any

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


def test_free_cpus_are_told_by_machine_while_the_answer_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray leaves a resource out of its answer when nothing of it is free. Only machines that may run replicas count."""
    now_s = [100.0]
    monkeypatch.setattr(cluster_nodes.time, "monotonic", lambda: now_s[0])
    free = {node["NodeID"]: {"CPU": 1.5} for node in NODES}
    watch = NodeWatch(lambda: NODES, lambda: free)
    assert watch.free_cpus() == {}
    watch.look()
    assert watch.free_cpus() == {"bbbbbbbb": 1.5}
    free["bbbbbbbb" + "0" * 48] = {"memory": 1.0}
    watch.look()
    assert watch.free_cpus() == {"bbbbbbbb": 0.0}
    now_s[0] += cluster_nodes.HOLDS_S
    assert watch.free_cpus() == {}


def test_machines_are_known_even_if_ray_does_not_tell_what_is_free() -> None:
    """The question for free resources fails. The list of machines still counts, and no machine counts as full."""

    def fails() -> Any:
        raise RuntimeError("Ray says nothing")

    watch = NodeWatch(lambda: NODES, fails)
    with pytest.raises(RuntimeError):
        watch.look()
    assert (watch.read(), watch.free_cpus()) == ({"bbbbbbbb"}, {})
