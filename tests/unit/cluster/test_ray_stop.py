"""Ray is drained and stopped. The stop does not wait for a Ray whose processes have ended."""

from __future__ import annotations

import threading
import time

import pytest

from cluster.local.ray_stop import finished, stop_ray


def test_work_that_waits_for_what_is_gone_is_left() -> None:
    """While Ray's core processes run, `finished` waits for slow work and returns True.

    If these processes are gone, the work can never end, and `finished` soon returns False.
    """
    forever, began_s = threading.Event(), time.monotonic()
    assert finished(forever.wait, lambda: False, 0.02) is False
    assert time.monotonic() - began_s < 30
    assert finished(lambda: time.sleep(0.2), lambda: True, 0.02) is True
    forever.set()


@pytest.mark.parametrize("drains", [True, False])
def test_a_stop_without_a_drain_is_told_and_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], drains: bool
) -> None:
    """ "stopped without a drain" is printed if Ray ended before the drain was done, and not if Ray ended after it."""
    over = threading.Event()
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("serve_app.applications.delete_all", lambda names: None if drains else over.wait())
    monkeypatch.setattr("ray.shutdown", over.wait)
    monkeypatch.setattr("cluster.local.ray_stop.core_runs", lambda marker: False)
    assert stop_ray(["intake"], "marker") is False
    over.set()
    assert ("stopped without a drain" in capsys.readouterr().err) is not drains


def test_an_error_of_the_stop_is_told_unless_ray_is_gone() -> None:
    """A call that stops Ray raises an error. It is raised if Ray still runs, and ignored if Ray is gone."""

    def fails() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        finished(fails, lambda: True, 0.02)
    assert finished(fails, lambda: False, 0.02) is True


def test_whoever_asks_twice_waits_for_no_drain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second signal ends the wait for a long drain, and a line says so."""
    over, asked = threading.Event(), iter([False, True, True, True])
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("serve_app.applications.delete_all", lambda names: over.wait(20.0))
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr("cluster.local.ray_stop.core_runs", lambda marker: True)
    assert stop_ray(["intake"], "marker", asked.__next__) is False
    over.set()
    assert "a second signal came: stopped without a drain; nothing is lost" in capsys.readouterr().err
