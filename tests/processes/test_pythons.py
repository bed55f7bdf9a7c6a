"""The run with every promised CPython: what is promised, and which interpreter is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import pythons


def interpreter(path: Path, tells: str) -> Path:
    """A file that answers every question with these words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{tells}\n")
    path.chmod(0o700)
    return path


def test_the_promise_is_what_the_classifiers_name() -> None:
    """3.10 to 3.13 are promised; a version that nothing here runs is not."""
    told = (pythons.ROOT / "pyproject.toml").read_text()
    assert pythons.promised(told) == ["3.10", "3.11", "3.12", "3.13"]
    assert not set(pythons.promised(told)) & set(pythons.UNPROMISED)


def test_interpreters_are_found_on_the_path_in_pyenv_and_in_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All three places are looked at, in this order; another minor version is no candidate."""
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    home = tmp_path / "home"
    wanted = [
        interpreter(tmp_path / "bin" / "python3.13", "true"),
        interpreter(home / ".pyenv/versions/3.13.0/bin/python", "true"),
        interpreter(home / ".local/share/uv/python/cpython-3.13.2-linux-x86_64-gnu/bin/python3.13", "true"),
    ]
    interpreter(home / ".pyenv/versions/3.12.1/bin/python", "true")
    assert list(pythons.places("3.13", home)) == wanted


def test_a_shim_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    """The first that says it is CPython of this version is taken, however many others lie before it."""
    shim = interpreter(tmp_path / "shim", "echo 'pyenv: version not set' >&2; exit 127")
    other = interpreter(tmp_path / "other", "echo CPython 3.9")
    pypy = interpreter(tmp_path / "pypy", "echo PyPy 3.13")
    good = interpreter(tmp_path / "good", "echo CPython 3.13")
    absent = tmp_path / "absent"
    assert pythons.first_that_runs("3.13", [shim, other, pypy, absent, good]) == good
    assert pythons.first_that_runs("3.13", [shim, other, pypy, absent]) is None


def test_a_failure_under_a_promised_version_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """One under a version that is not promised is told, and fails nothing; nor does a version that is not here."""
    monkeypatch.setattr(pythons, "promised", lambda text: ["3.98", "3.99"])
    monkeypatch.setattr(pythons, "UNPROMISED", ("4.0",))
    here = {"3.98": Path("a"), "3.99": None, "4.0": Path("b")}
    monkeypatch.setattr(pythons, "first_that_runs", lambda version, candidates: here[version])
    codes = {"3.98": 0, "4.0": 1}
    monkeypatch.setattr(pythons, "run", lambda version, path, tests: pythons.Ending(version, codes[version], "done"))
    assert pythons.main([]) == 0
    codes["3.98"] = 1
    assert pythons.main([]) == 1


def test_an_environment_that_cannot_be_made_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ending repeats what the installer said."""
    monkeypatch.setattr(pythons, "FOLDER", tmp_path)
    ending = pythons.run("3.99", interpreter(tmp_path / "bad", "echo no venv here >&2; exit 1"), [])
    assert ending.code == 1
    assert "no venv here" in ending.words
