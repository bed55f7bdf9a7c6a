"""Reads files of npm packages during a test. If a package cannot be downloaded, the test fails and names it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

FETCH_S_MAX = 300


@cache
def npm_file(package: str, path: str) -> Any:
    """Return the JSON of one file in `package` (NAME@VERSION)."""
    with tarfile.open(_archive(package)) as archive:
        found = archive.extractfile(f"package/{path}")
        assert found is not None, f"{package} has no file {path}"
        return json.load(found)


@cache
def _archive(package: str) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail(f"the npm package {package} cannot be had: there is no npm", pytrace=False)
    folder = Path(sys.prefix) / "peers" / package.replace("/", "+")
    if not list(folder.glob("*.tgz")):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            command = [npm, "pack", package, "--pack-destination", fresh, "--silent"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S_MAX, cwd=fresh, check=False)
            if done.returncode != 0:
                pytest.fail(f"the npm package {package} cannot be had: {done.stderr[-300:]}", pytrace=False)
            for archive in Path(fresh).glob("*.tgz"):
                archive.rename(folder / archive.name)
    (archive,) = folder.glob("*.tgz")
    return archive
