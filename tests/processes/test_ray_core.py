"""`up` notices that a core process of its private Ray has ended."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.local.frozen import FrozenReplicas
from cluster.local.housekeeping import Housekeeping
from cluster.local.ray_core import CORE_OF_RAY, LOOK_S, CoreWatch, core_runs
from cluster.local.state_directory import MARKER
from tests.chaos.running import wait_for


@pytest.fixture
def core(tmp_path: Path) -> Iterator[tuple[str, dict[str, subprocess.Popen[bytes]]]]:
    """Give a marker, and for each core process of Ray a program of the same name that sleeps."""
    marker, found = uuid.uuid4().hex, {}
    for name in CORE_OF_RAY:
        program = tmp_path / name
        shutil.copy(shutil.which("sleep") or "", program)
        found[name] = subprocess.Popen([str(program), "600"], env={**os.environ, MARKER: marker})
    # Popen returns when the program is loaded, which is a moment before the kernel shows its command line.
    wait_for(lambda: core_runs(marker), 10.0)
    yield marker, found
    for process in found.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", CORE_OF_RAY)
def test_the_end_of_a_core_process_is_told_once(
    core: tuple[str, dict[str, subprocess.Popen[bytes]]], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """While both core processes run, nothing is said. When one has ended, one line names it, and it stays ended.

    The ended process is not waited for at first: Ray starts both as children of `up`, and may not wait for them.
    """
    marker, processes = core
    watch = CoreWatch(marker)
    assert [watch.ended(now_s) for now_s in (100.0, 100.0 + LOOK_S)] == [False, False]
    assert core_runs(marker)
    processes[name].kill()
    os.waitid(os.P_PID, processes[name].pid, os.WEXITED | os.WNOWAIT)
    assert not watch.ended(100.0 + 1.5 * LOOK_S)
    assert watch.ended(100.0 + 2 * LOOK_S)
    assert watch.ended(100.0 + 3 * LOOK_S)
    assert not core_runs(marker)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"Ray's {name} ended" in line


@pytest.mark.parametrize(
    "look",
    [lambda: CoreWatch("m").ended(100.0), lambda: FrozenReplicas("m").end(100.0), lambda: Housekeeping("m").calm(0)],
)
def test_processes_that_cannot_be_listed_end_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], look: Callable[[], bool | None]
) -> None:
    """Too many open files prevent a look at the processes. The look raises nothing, says nothing and finds nothing."""

    def fails(path: Path) -> Iterator[Path]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "iterdir", fails)
    assert not look()
    assert capsys.readouterr().err == ""


def test_a_process_that_cannot_be_read_has_not_ended(
    core: tuple[str, dict[str, subprocess.Popen[bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many open files prevent that the core processes are read. They run, and nothing ends."""
    marker, _ = core
    watch = CoreWatch(marker)
    assert not watch.ended(100.0)

    def fails(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_bytes", fails)
    assert not watch.ended(100.0 + LOOK_S)
