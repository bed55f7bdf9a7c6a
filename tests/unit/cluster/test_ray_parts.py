"""Ray is started without parts that we do not use. The tests check the names that the pinned version has for them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from cluster.local.ray_parts import AGENTS, NO_PORT, PORTS, STAND_IN, UNUSED, leave_out_unused, without_agents


@pytest.mark.parametrize("step", UNUSED)
def test_the_pinned_ray_has_each_step(step: str) -> None:
    """Ray's `Node` still calls each step in `UNUSED`. If a new version renames one, this test fails."""
    node = pytest.importorskip("ray._private.node")
    assert f"self.{step}(" in inspect.getsource(node.Node)


def test_an_unused_step_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `leave_out_unused`, those steps of Ray's start that we do not need do nothing, whatever their arguments
    are.

    The other steps are unchanged.
    """
    node = pytest.importorskip("ray._private.node").Node
    before = {name: getattr(node, name) for name in (*UNUSED, "start_raylet")}
    for name, step in before.items():
        monkeypatch.setattr(node, name, step)  # restored afterwards
    _restored(monkeypatch)
    leave_out_unused()
    assert node.start_log_monitor(None) is node.start_api_server(None, include_dashboard=False) is None
    assert node.start_raylet is before["start_raylet"]


def test_a_step_that_ray_has_no_more_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """`leave_out_unused` replaces steps of Ray's start. If a later Ray has none of these steps any more, no error is
    raised.
    """
    node = pytest.importorskip("ray._private.node").Node
    for name in UNUSED:
        monkeypatch.delattr(node, name)
    _restored(monkeypatch)
    leave_out_unused()
    assert not any(hasattr(node, name) for name in UNUSED)


def test_the_pinned_ray_gives_the_raylet_both_agents() -> None:
    """Ray still passes the options in `AGENTS` to the raylet, and the raylet waits for exactly the ports in `PORTS`."""
    services = pytest.importorskip("ray._private.services")
    source = inspect.getsource(services.start_raylet)
    for option in AGENTS:
        assert f'"--{option}={{}}"' in source
    raylet = pytest.importorskip("ray._raylet")
    assert {
        getattr(raylet, name) for name in dir(raylet) if re.fullmatch(r"(METRICS|DASH|RUNTIME).*_PORT_NAME", name)
    } == set(PORTS)


def test_the_raylet_gets_stand_ins_and_the_ports_that_it_waits_for(tmp_path: Path) -> None:
    """The agents' commands are replaced by `STAND_IN`, and every port is written as `NO_PORT`. Other arguments stay."""
    command = ["raylet", f"--session_dir={tmp_path}", "--node_id=a1", "--head", "--labels=a=b"]
    agents = [f"--{option}=python agent.py --node-id=a1" for option in AGENTS]
    assert without_agents([*command, *agents]) == [*command, *(f"--{option}={STAND_IN}" for option in AGENTS)]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f"{name}_a1": str(NO_PORT) for name in PORTS
    }


def test_only_the_raylets_start_is_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the command of the raylet is changed. Any other Ray process gets its own command."""
    services = pytest.importorskip("ray._private.services")
    node = pytest.importorskip("ray._private.node").Node
    for name in UNUSED:
        monkeypatch.setattr(node, name, getattr(node, name))
    started: list[tuple[list[str], str, bool]] = []
    monkeypatch.setattr(
        services,
        "start_ray_process",
        lambda command, kind, *, fate_share: started.append((command, kind, fate_share)),
    )
    leave_out_unused()
    words = [f"--session_dir={tmp_path}", "--node_id=a1", "--dashboard_agent_command=python agent.py"]
    services.start_ray_process(words, "gcs_server", fate_share=True)
    services.start_ray_process(words, "raylet", fate_share=False)
    assert started == [
        (words, "gcs_server", True),
        ([*words[:2], f"--dashboard_agent_command={STAND_IN}"], "raylet", False),
    ]


def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore `start_ray_process` after the test."""
    services = pytest.importorskip("ray._private.services")
    monkeypatch.setattr(services, "start_ray_process", services.start_ray_process)
