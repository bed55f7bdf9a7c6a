"""Checks how a builder waits for a configuration file. On Kubernetes, kubelet may put the file into the pod after the
builder has started.

tests/unit/cluster/test_files.py builds every entry.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.builders import VOLUME_S_MAX, await_file


def volume(folder: Path) -> Path:
    """Return the path of a file that does not exist, in a folder that looks like a volume that Kubernetes mounts."""
    (folder / "..2026").mkdir()
    (folder / "..data").symlink_to("..2026")
    return folder / "config-2.yaml"


def test_a_file_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    """In a kubelet volume the builder waits for a missing file.

    Kubelet needs about a minute, and KubeRay sends a failed entry only once.
    """
    path, waited = volume(tmp_path), list[float]()

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if sum(waited) >= 60:
            path.write_text("{}")

    await_file(path, sleep)
    assert sum(waited) == 60


def test_a_file_that_never_comes_is_given_up(tmp_path: Path) -> None:
    """A file never appears in its volume. The wait ends after `VOLUME_S_MAX` seconds.

    The caller then fails with the error of a missing file.
    """
    waited = list[float]()
    await_file(volume(tmp_path), waited.append)
    assert sum(waited) == VOLUME_S_MAX


@pytest.mark.parametrize("there", [True, False])
def test_elsewhere_nothing_waits(tmp_path: Path, there: bool) -> None:
    """Outside of a kubelet volume the builder does not wait, so that a wrong file name is refused at once."""
    path = tmp_path / "config-2.yaml"
    if there:
        path.write_text("{}")
    waited = list[float]()
    await_file(path, waited.append)
    assert waited == []
