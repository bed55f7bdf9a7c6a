"""Tests the run with every promised CPython version: which versions are promised, and which interpreter is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import pythons


def interpreter(path: Path, tells: str) -> Path:
    """Write an executable shell script that runs the command `tells`. It stands for an interpreter. Return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{tells}\n")
    path.chmod(0o700)
    return path


def test_the_promise_is_what_the_classifiers_name() -> None:
    """The classifiers of pyproject.toml promise CPython 3.10 to 3.13. The versions that we only try are not
    among them.
    """
    told = (pythons.ROOT / "pyproject.toml").read_text()
    assert pythons.promised(told) == ["3.10", "3.11", "3.12", "3.13"]
    assert not set(pythons.promised(told)) & set(pythons.UNPROMISED)


def test_interpreters_are_found_on_the_path_in_pyenv_and_in_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpreters of a version are looked for on PATH, in pyenv and in uv, in this order. Other versions are
    left out.
    """
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
    """The first candidate that runs and is CPython of this version is used. All others are skipped."""
    shim = interpreter(tmp_path / "shim", "echo 'pyenv: version not set' >&2; exit 127")
    other = interpreter(tmp_path / "other", "echo CPython 3.9")
    pypy = interpreter(tmp_path / "pypy", "echo PyPy 3.13")
    good = interpreter(tmp_path / "good", "echo CPython 3.13")
    absent = tmp_path / "absent"
    assert pythons.first_that_runs("3.13", [shim, other, pypy, absent, good]) == good
    assert pythons.first_that_runs("3.13", [shim, other, pypy, absent]) is None


def test_a_failure_under_a_promised_version_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the tests fail under a promised Python version, the exit code is 1.

    If they fail only under a version that is not promised, or if a version is missing, the exit code is 0.
    """
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
    """If the environment for the tests of a CPython cannot be made, the result has code 1 and the message of the failed
    program.
    """
    monkeypatch.setattr(pythons, "FOLDER", tmp_path)
    ending = pythons.run("3.99", interpreter(tmp_path / "bad", "echo no venv here >&2; exit 1"), [])
    assert ending.code == 1
    assert "no venv here" in ending.words


def test_what_is_left_out_is_there() -> None:
    """Each file that the other CPython versions leave out exists, so that a renamed one is not run again."""
    assert [name for name in pythons.READ_SOURCES if not (pythons.ROOT / "tests/unit" / name).exists()] == []


def test_an_environment_is_made_by_pip_where_uv_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A uv that cannot read the package index is followed by pip, which installs the same locked packages."""
    asked = tmp_path / "asked"
    interpreter(tmp_path / "bin" / "uv", f"echo uv >>{asked}; exit 2")
    pip = interpreter(
        tmp_path / "bin" / "pip", f'echo pip >>{asked}; case "$*" in *--require-hashes*) ;; *) exit 1; esac'
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    monkeypatch.setattr(pythons, "FOLDER", tmp_path / "made")
    monkeypatch.setattr(pythons.sys, "executable", str(pip))
    made = interpreter(tmp_path / "python", f"mkdir -p {tmp_path}/made/3.99")
    assert pythons.ready("3.99", made) == tmp_path / "made/3.99/bin/python"
    assert asked.read_text().split() == ["uv", "pip"]
