"""Tests that the wheel holds the program and the files that it reads, and nothing else of the repository."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.wheel import PACKAGES, ROOT, built, commands, locked

EVERY_COMMAND = """
import json, os, pkgutil, sys
from importlib import import_module, metadata
import click
from click.testing import CliRunner
from cluster.cli.main import main

def below(command, words=()):
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from below(command.get_command(context, name), (*words, name))

def run(*words):
    done = CliRunner().invoke(main, words)
    return [done.exit_code, done.output]

answers = {" ".join(words): run(*words, "--help")[0] for words in below(main)}
open("empty.yaml", "w").write("{}")
whole = {
    "check": run("config", "check", "empty.yaml"),
    "schema": run("config", "schema"),
    "capacity": run("capacity", "--per-day", "1e7"),
}
for package in sys.argv[1:]:
    for found in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        if not found.name.endswith(".__main__"):
            import_module(found.name)
of = metadata.packages_distributions()
used = {name for module in list(sys.modules) for name in of.get(module.partition(".")[0], ())}
origins = sorted({os.path.dirname(sys.modules[package].__path__[0]) for package in sys.argv[1:]})
print(json.dumps([answers, whole, sorted(used), origins]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_four_packages_and_their_files(wheel: Path) -> None:
    """The wheel has exactly the files of the four packages: no benchmark, test or development tool."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == wanted


def test_every_command_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Every command is run from the wheel. Each `--help` works, and so does each command that reads packaged files.

    All packages that were imported are in the runtime lock. The interpreter reads no `.pth` file (`-S`), so it cannot
    import from this checkout.
    """
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    path = f"{site}:{sysconfig.get_path('purelib')}:{sysconfig.get_path('platlib')}"
    words = [sys.executable, "-S", "-c", EVERY_COMMAND, *PACKAGES]
    environment = {"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(words, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers, whole, used, origins = json.loads(done.stdout.splitlines()[-1])
    assert origins == [str(site)]
    assert {"", "up", "capacity", "config check", "dead redrive"} <= answers.keys()
    assert {name: code for name, code in answers.items() if code} == {}
    assert {name: answer for name, answer in whole.items() if answer[0]} == {}
    assert "vendors" in json.loads(whole["schema"][1])["properties"]
    assert "costs measured on" in whole["capacity"][1]
    runtime = locked((ROOT / "requirements.lock").read_text()) | {"resilient-dispatcher"}
    runtime.add("psutil")  # Ray brings one of its own, and prefers one that is installed
    runtime.add("rfc3339-validator")  # jsonschema takes it where it is, as after `make test-peers`
    assert {name for name in used if not locked(f"{name}==") <= runtime} == set()


def test_the_locks_are_two() -> None:
    """The runtime lock has no development tool. The development lock has all of the runtime lock, in the same
    versions.
    """
    runtime, development = ((ROOT / name).read_text() for name in ("requirements.lock", "requirements-dev.lock"))
    assert locked(runtime) & {"pytest", "ruff", "mypy", "hypothesis", "setuptools", "aiosmtpd"} == set()
    assert {"pytest", "ruff", "mypy", "hypothesis", "setuptools", "aiosmtpd"} <= locked(development)
    pins = [set(_blocks(text)) for text in (runtime, development)]
    assert pins[0] <= pins[1], "renew both: make lock"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_has_a_hash_for_each_package_and_names_no_index(name: str) -> None:
    """Each package in a lock has a hash, and no index is named. So everybody installs the same files, from their own
    index.
    """
    text = (ROOT / name).read_text()
    assert [block for block in _blocks(text) if "--hash=sha256:" not in block] == []
    assert "://" not in text
    assert "--index" not in text


def test_the_image_builds_its_wheel_with_one_package_of_the_development_lock(tmp_path: Path) -> None:
    """The command in the Dockerfile takes only setuptools, with its hashes, from the development lock."""
    text = (ROOT / "cluster" / "files" / "Dockerfile").read_text()
    cut = re.search(r"RUN (sed -n '.*') /source/(\S+) >", text)
    assert cut is not None
    words = [*shlex.split(cut[1]), str(ROOT / cut[2])]
    lock = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert locked(lock) == {"setuptools"}
    assert [block for block in _blocks(lock) if "--hash=sha256:" not in block] == []
    assert not lock.rstrip().endswith("\\")


def _blocks(lock: str) -> list[str]:
    """Return each package of the lock file as one line, with its hashes."""
    return lock.replace(" \\\n", " ").splitlines()


def test_commands_are_read_from_a_help_text() -> None:
    """`commands` returns the names below "Commands:" in a help text, or none if the text has no such part."""
    assert commands("Usage: x\n\nCommands:\n  dead  Letters that\n        wait.\n  up    Start.\n") == ["dead", "up"]
    assert commands("Usage: x up\n\nOptions:\n  --port INTEGER\n") == []
