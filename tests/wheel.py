"""Installs the wheel into a fresh environment, and uses it from another folder like a user without a checkout.

    python -m tests.wheel

The environment gets requirements.lock and the wheel, and nothing else: no development tool and no file of this
repository. Every command is asked for its `--help`, and the demo runs once. The run needs the package index.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("dispatcher", "actors", "serve_app", "cluster")
SOURCE = ("pyproject.toml", "README.md", "LICENSE", *PACKAGES)
DEMO = ("demo", "--triggers", "600", "--rate", "60")
RUN_S_MAX = 300.0

EVERY_HELP = """
import click
from click.testing import CliRunner
from cluster.cli.main import main

def below(command, words=()):
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from below(command.get_command(context, name), (*words, name))

for words in below(main):
    done = CliRunner().invoke(main, [*words, "--help"])
    assert done.exit_code == 0 and "Usage: " in done.output, (words, done.output)
    print(" ".join(words) or "dispatcher")
"""


def built(folder: Path) -> Path:
    """Build the wheel from a copy of the source in `folder` and return its path.

    setuptools builds beside the source, and would add the files that an earlier build left there.
    """
    source = folder / "source"
    source.mkdir(parents=True)
    for name in SOURCE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    words = ["wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    _run([sys.executable, "-m", "pip", *words], folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def locked(lock: str) -> set[str]:
    """Return the normalised names of the packages that a lock file holds."""
    return {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}


def normal(name: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def commands(shown: str) -> list[str]:
    """Return the commands that the text of a `--help` lists. The list is empty for a command without subcommands."""
    _, _, listed = shown.partition("\nCommands:\n")
    return re.findall(r"^  (\S+)", listed, re.MULTILINE)


def installed(folder: Path, wheel: Path) -> Path:
    """Make an environment with the locked packages and the wheel. Return the path of its program `dispatcher`."""
    environment = folder / "environment"
    python = environment / "bin" / "python"
    _run([sys.executable, "-m", "venv", "--without-pip", environment], folder)
    pip = [sys.executable, "-m", "pip", "--python", python]
    install = [*pip, "install", "--quiet", "--disable-pip-version-check"]
    _run([*install, "--require-hashes", "-r", ROOT / "requirements.lock"], folder)
    _run([*install, "--no-deps", "--no-index", wheel], folder)
    _run([*pip, "check"], folder)
    return environment / "bin" / "dispatcher"


def helps(python: Path, folder: Path) -> list[str]:
    """Ask each command for its `--help` and return their names. Raises CalledProcessError if a command does not answer.

    One interpreter of the environment asks all commands, because its start takes longer than most answers.
    """
    return _run([python, "-c", EVERY_HELP], folder).splitlines()


def _run(words: list[object], folder: Path) -> str:
    """Run a command in `folder` and return its output. The command cannot import this checkout.

    Raises CalledProcessError for an exit code other than 0.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=RUN_S_MAX,
        check=True,
    )
    return done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="nd-wheel-") as name:
        folder, elsewhere = Path(name), Path(name) / "elsewhere"
        elsewhere.mkdir()
        program = installed(folder, built(folder))
        print("installed:", _run([program, "--version"], elsewhere).strip(), flush=True)
        listed, answered = commands(_run([program, "--help"], elsewhere)), helps(program.with_name("python"), elsewhere)
        assert listed and set(listed) <= set(answered), (listed, answered)
        print("--help of:", ", ".join(answered), flush=True)
        (elsewhere / "empty.yaml").write_text("{}\n")
        print(_run([program, "config", "check", "empty.yaml"], elsewhere).strip())
        print(len(json.loads(_run([program, "config", "schema"], elsewhere))["properties"]), "sections in the schema")
        print(_run([program, "capacity", "--per-day", "10000000"], elsewhere).splitlines()[-1])
        print(_run([program, *DEMO], elsewhere), flush=True)


if __name__ == "__main__":
    main()
