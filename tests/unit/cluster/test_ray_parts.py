"""Ray is started without what nothing here uses, by the names that the pinned version gives to its steps."""

from __future__ import annotations

import inspect

import pytest

from cluster.local.ray_parts import UNUSED, leave_out_unused


@pytest.mark.parametrize("step", UNUSED)
def test_the_pinned_ray_has_each_step(step: str) -> None:
    """A step with another name would not be left out, and a new Ray version shows it here."""
    node = pytest.importorskip("ray._private.node")
    assert f"self.{step}(" in inspect.getsource(node.Node)


def test_an_unused_step_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step does nothing, with whatever arguments Ray calls it, and the other steps stay as they are."""
    node = pytest.importorskip("ray._private.node").Node
    before = {name: getattr(node, name) for name in (*UNUSED, "start_raylet")}
    for name, step in before.items():
        monkeypatch.setattr(node, name, step)  # restored afterwards
    leave_out_unused()
    assert node.start_log_monitor(None) is node.start_api_server(None, include_dashboard=False) is None
    assert node.start_raylet is before["start_raylet"]


def test_a_step_that_ray_has_no_more_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start does not end because there is nothing to save any more."""
    node = pytest.importorskip("ray._private.node").Node
    for name in UNUSED:
        monkeypatch.delattr(node, name)
    leave_out_unused()
    assert not any(hasattr(node, name) for name in UNUSED)
