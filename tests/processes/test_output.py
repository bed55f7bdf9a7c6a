"""A command whose output cannot be printed as it is ends without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = "import sys; from cluster.cli.main import main; sys.argv[0] = 'dispatcher'; main()"


def run(words: list[str], stdout: int, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *words],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


def test_a_full_disk_is_one_sentence() -> None:
    """`dispatcher config schema > FILE` on a full disk was a traceback of thirty lines."""
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = run(["config", "schema"], full)
    finally:
        os.close(full)
    assert done.stderr == b"dispatcher: the output cannot be written: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_terminal_without_a_sign_gets_its_escape(encoding: str, tmp_path: Path) -> None:
    """A name in Greek, or the dash of an empty column, ended the command (PYTHONIOENCODING, older locales)."""
    file = tmp_path / "λόγος – €.yaml"
    file.write_text("vendors: {}\n", encoding="utf-8")
    done = run(["config", "check", str(file)], subprocess.PIPE, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert b"right; 0 vendors, 0 events" in done.stdout
