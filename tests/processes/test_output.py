"""Tests that a command whose output cannot be written ends with one sentence and not with a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.local.worker_forks import PYTHON_SETTINGS

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
    """The disk is full while a command prints. The command ends with one sentence and exit code 1."""
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = run(["config", "schema"], full)
    finally:
        os.close(full)
    assert done.stderr == b"dispatcher: the output cannot be written: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_terminal_without_a_sign_gets_its_escape(encoding: str, tmp_path: Path) -> None:
    """The terminal's encoding lacks some characters of a file name. They are escaped, and the command succeeds."""
    file = tmp_path / "λόγος – €.yaml"
    file.write_text("vendors: {}\n", encoding="utf-8")
    done = run(["config", "check", str(file)], subprocess.PIPE, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert b"right; 0 vendors, 0 events" in done.stdout


def test_the_processes_of_ray_write_utf8_in_any_locale() -> None:
    """With `PYTHON_SETTINGS`, Python uses UTF-8 in any locale.

    Without it Serve could not write its HAProxy configuration, which holds an arrow, in a plain ASCII locale.
    """
    program = "import locale; print(locale.getpreferredencoding(False).lower())"
    other = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    found = [
        subprocess.run([sys.executable, "-c", program], env={**os.environ, **other, **more}, capture_output=True).stdout
        for more in ({}, PYTHON_SETTINGS)
    ]
    assert found == [b"ansi_x3.4-1968\n", b"utf-8\n"]


def test_the_terminal_shows_only_our_sentences(tmp_path: Path) -> None:
    """Libraries log, print, and write to both descriptors. All of it goes to the log file, and only `say` reaches the
    terminal.
    """
    program = f"""if True:
        import os, sys
        from pathlib import Path
        from cluster.local.foreground import libraries_to, say
        with libraries_to(Path({str(tmp_path / "logs/ray.log")!r})):
            os.write(2, b"native\\n"), os.write(1, b"native too\\n")
            print("printed"), print("logged", file=sys.stderr)
            say("not ready yet"), say("ready", error=False)
        print("stopped")
        """
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("ready\nstopped\n", "not ready yet\n")
    written = (tmp_path / "logs/ray.log").read_text()
    assert sorted(written.splitlines()) == ["logged", "native", "native too", "printed"]


def test_a_process_without_streams_writes_into_no_other_file(tmp_path: Path) -> None:
    """A process starts without stdout and stderr, so the next files that it opens get the descriptors 1 and 2. Nothing
    is printed into these files.

    Other programs had this fault (rust 57728, libmdbx 144).
    """
    program = f"""if True:
        import os
        from pathlib import Path
        from cluster.local.foreground import leave_quietly, libraries_to, say
        kept = os.open({str(tmp_path / "lock")!r}, os.O_RDWR | os.O_CREAT)
        with libraries_to(Path({str(tmp_path / "ray.log")!r})):
            say("ready"), say("ready", error=False)
            os.write(kept, b"pid")
        leave_quietly()
        """
    shell = 'exec "$0" -c "$1" 1>&- 2>&-'
    ended = subprocess.run(["sh", "-c", shell, sys.executable, program], check=False)
    assert (ended.returncode, (tmp_path / "lock").read_text()) == (0, "pid")


def test_the_program_imports_nothing_large() -> None:
    """The module of the program imports neither Ray nor pydantic nor an HTTP client, which take more than a second."""
    large = {"ray", "pydantic", "aiohttp", "structlog", "redis"}
    code = f"import sys, cluster.cli.main; print(*{large} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
