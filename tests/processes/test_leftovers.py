"""Tests that a run of the tests ends the processes that a dead test worker has left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.leftovers import RUN, end, short_folder

SLEEPER = "import sys; print(1, flush=True); sys.stdin.read()"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of another test run. New processes belong to that run, because the environment names the
    folder.
    """
    found = tmp_path / "run"
    found.mkdir()
    monkeypatch.setenv(RUN, str(found))
    return found


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for process in found:
        process.kill()
        process.communicate()


def test_what_a_run_left_is_ended_and_named(run: Path, started: list[subprocess.Popen[bytes]]) -> None:
    """`end` kills the processes of a run, found by their environment or by their folder, and returns their commands.

    Processes of another run are left alone.
    """
    folder = short_folder()
    bare = {name: value for name, value in os.environ.items() if name != RUN}
    others = {**bare, RUN: f"{run}-2"}
    for environment, directory in ((dict(os.environ), "/"), (bare, folder), (others, "/"), (bare, "/")):
        words = [sys.executable, "-c", SLEEPER]
        process = subprocess.Popen(
            words, env=environment, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
    left = end(run)
    assert [command.startswith(sys.executable) for command in left] == [True, True]
    assert [process.wait(5) for process in started[:2]] == [-9, -9]
    assert [process.poll() for process in started[2:]] == [None, None]
    assert not folder.exists()
    assert not run.exists()
