"""Tests what replicas that are no intake answer to an HTTP request that reaches them by mistake, and what the
supervisor knows of the cluster.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from serve_app.cluster_nodes import NodeWatch
from serve_app.shells import SupervisorShell, VendorShell


@pytest.mark.parametrize("shell", [VendorShell, SupervisorShell])
async def test_a_replica_that_is_no_intake_accepts_nothing(shell: Any) -> None:
    """A trigger that reaches the port of another replica is refused, and its caller tries again."""
    answer = await shell.__call__(None)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("runtime", "known"), [({"cluster": "yes"}, ({"bbbbbbbb"}, {"bbbbbbbb": 0.5})), ({}, ((), {}))]
)
async def test_on_a_cluster_the_supervisor_knows_machines_and_free_cpus(
    monkeypatch: pytest.MonkeyPatch, runtime: dict[str, str], known: tuple[Any, Any]
) -> None:
    """On a cluster Ray is asked for its machines and what is free on them. On one machine nobody asks."""
    node = "bbbbbbbb" + "0" * 48
    watch = NodeWatch(
        lambda: [{"NodeID": node, "Alive": True, "Resources": {"CPU": 4.0}}], lambda: {node: {"CPU": 0.5}}
    )
    watch.look()
    made = mock.Mock(return_value=mock.AsyncMock())
    monkeypatch.setattr("serve_app.shells._watch_nodes", lambda: watch)
    monkeypatch.setattr("serve_app.shells.identity", dict)
    monkeypatch.setattr("serve_app.shells.set_niceness", lambda niceness: None)
    monkeypatch.setattr("actors.supervisor.SupervisorActor", made)
    await SupervisorShell.__init__(mock.Mock(), {}, runtime)
    told = made.call_args.kwargs
    assert (told["nodes"](), told["free_cpus"]()) == known
