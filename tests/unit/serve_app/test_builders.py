"""A builder waits for a file that its pod does not see yet; tests/unit/cluster/test_files.py builds every entry."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.builders import VOLUME_S_MAX, await_file


def volume(folder: Path) -> Path:
    """Return the path of a file that is not there yet, in a folder as kubelet fills it."""
    (folder / "..2026").mkdir()
    (folder / "..data").symlink_to("..2026")
    return folder / "config-2.yaml"


def test_a_file_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    """Kubelet shows a changed ConfigMap after about a minute, and KubeRay sends a failed entry only once."""
    path, waited = volume(tmp_path), list[float]()

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if sum(waited) >= 60:
            path.write_text("{}")

    await_file(path, sleep)
    assert sum(waited) == 60


def test_a_file_that_never_comes_is_given_up(tmp_path: Path) -> None:
    """The error of a missing file follows then."""
    waited = list[float]()
    await_file(volume(tmp_path), waited.append)
    assert sum(waited) == VOLUME_S_MAX


@pytest.mark.parametrize("there", [True, False])
def test_elsewhere_nothing_waits(tmp_path: Path, there: bool) -> None:
    """A wrong name on a machine of one's own is refused at once."""
    path = tmp_path / "config-2.yaml"
    if there:
        path.write_text("{}")
    waited = list[float]()
    await_file(path, waited.append)
    assert waited == []
