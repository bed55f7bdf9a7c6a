"""Runs the unit tests with every CPython version that we promise, side by side, and names the versions that are
missing.

    python -m tests.pythons [FILE OR FOLDER OF TESTS ...]

The promised versions are the list in pyproject.toml. The version that runs this module is left out, because `make
test` uses it. A version of `UNPROMISED` is run if it is found, and its failures are shown without failing the run.
Interpreters are looked for on PATH, in pyenv's folders and in uv's. Only the packages of requirements-dev.lock are
downloaded. All tests run but those that only read our source files and documents as text, which is the same for every
version. A property is tried with fewer random examples than in `make test`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "pythons"
UNPROMISED = ("3.14",)
QUERY = "import platform, sys; print(platform.python_implementation(), '%d.%d' % sys.version_info[:2])"
EXAMPLES = "20"
"""The number of random examples of a property, instead of 100. `make test` looks for faults of our logic; what is
looked for here are differences between the versions.
"""

READ_SOURCES = ("test_prose.py", "test_signatures.py", "test_glossary.py")
"""Files of tests/unit whose tests only read our source files and documents, as text."""

RUN_S_MAX = 3600.0
"""The most seconds for the tests of one version. In CI they run beside everything else, at a low priority."""


@dataclass(frozen=True)
class Ending:
    """The result of the tests on one CPython version. `code` 0 means success, and `words` is the text for the
    reader.
    """

    version: str
    code: int
    words: str


def promised(pyproject: str) -> list[str]:
    """Return the versions that the classifiers in `pyproject` name, in their order."""
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', pyproject)


def places(version: str, home: Path) -> Iterator[Path]:
    """Yield every file that may be this version's interpreter: first on PATH, then in pyenv's folders, then in
    uv's.
    """
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", home / ".local/share/uv/python"))
    yield from sorted(pyenv.glob(f"{version}.*/bin/python"))
    yield from sorted(uv.glob(f"cpython-{version}.*/bin/python{version}"))


def first_that_runs(version: str, candidates: Iterable[Path]) -> Path | None:
    """Return the first candidate that says it is CPython of this version, or None.

    A candidate may fail: pyenv puts scripts on PATH also for versions that are not selected.
    """
    for path in candidates:
        try:
            told = subprocess.run([path, "-c", QUERY], capture_output=True, text=True, timeout=30.0, check=False).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        if told.split() == ["CPython", version]:
            return path
    return None


def ready(version: str, interpreter: Path) -> Path:
    """Make an environment with the locked packages, and return its interpreter.

    Raises CalledProcessError if the environment cannot be made.
    """
    environment = FOLDER / version
    python, mark = environment / "bin" / "python", environment / ".ready"
    lock = ROOT / "requirements-dev.lock"
    wanted = f"{interpreter} {hashlib.sha256(lock.read_bytes()).hexdigest()}"
    if mark.exists() and mark.read_text() == wanted:
        return python
    _say([interpreter, "-m", "venv", "--clear", "--without-pip", environment])
    locked = ["--require-hashes", "-r", lock]
    if not _by_uv(python, locked):
        # Our own pip installs there. The tests import a small part of the packages: the rest need not be compiled.
        words = ["install", "--quiet", "--disable-pip-version-check", "--no-compile", *locked]
        _say([sys.executable, "-m", "pip", "--python", python, *words])
    mark.write_text(wanted)
    return python


def _by_uv(python: Path, locked: list[object]) -> bool:
    """Install with uv, which needs seconds where pip needs a minute. Return False if there is no uv, or if it fails:
    then pip tries, and says what is wrong.
    """
    uv = shutil.which("uv")
    if uv is None:
        return False
    with contextlib.suppress(subprocess.CalledProcessError):
        _say([uv, "pip", "install", "--quiet", "--python", python, *locked])
        return True
    return False


def run(version: str, interpreter: Path, tests: list[str]) -> Ending:
    """Run the tests with one interpreter. Return the last line if they pass, and the whole output if they fail."""
    began_s = time.monotonic()
    try:
        python = ready(version, interpreter)
        few = {**os.environ, "HYPOTHESIS_EXAMPLES": EXAMPLES}
        command = [python, "-m", "pytest", *tests]
        done = subprocess.run(
            command, cwd=ROOT, env=few, capture_output=True, text=True, timeout=RUN_S_MAX, check=False
        )
    except subprocess.CalledProcessError as error:
        return Ending(version, 1, f"cannot be set up:\n{error.stderr}")
    except subprocess.TimeoutExpired:
        return Ending(version, 1, f"was not done after {RUN_S_MAX:.0f} s")
    said = done.stdout.strip()
    words = said.rpartition("\n")[2] if done.returncode == 0 else f"{said}\n{done.stderr}"
    return Ending(version, done.returncode, f"{words} ({time.monotonic() - began_s:.0f} s with set-up)")


def _say(words: list[object]) -> None:
    subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True)


def main(tests: list[str]) -> int:
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    promise = promised((ROOT / "pyproject.toml").read_text())
    versions = [version for version in (*promise, *UNPROMISED) if version != own]
    found = {version: first_that_runs(version, places(version, Path.home())) for version in versions}
    there = {version: path for version, path in found.items() if path is not None}
    print(f"CPython {own}: left out, it runs this", flush=True)
    for version in versions:
        if version not in there:
            print(f"CPython {version}: no interpreter on this machine, not tested", flush=True)
    failed = False
    with ThreadPoolExecutor(max(1, len(there))) as pool:
        for ending in pool.map(lambda one: run(*one, tests), there.items()):
            print(f"CPython {ending.version}: {ending.words}", flush=True)
            failed |= ending.code != 0 and ending.version in promise
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["tests/unit", *(f"--ignore=tests/unit/{name}" for name in READ_SOURCES)]))
