"""Ends everything that a test run started, even if a worker of the run died and could not clean up.

The first process of a run makes a folder for the run. Every process that a test starts carries the folder's path in
its environment. A Redis server overwrites its environment, so it is found by its working directory instead. A test
makes that directory with `short_folder`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path

RUN = "DISPATCHER_TEST_RUN"


def short_folder(prefix: str = "nd") -> Path:
    """Make a private folder, which is removed at the end of the run at the latest.

    The folder's path is short, because the path of a Unix socket may have only 107 bytes.
    """
    found = Path(tempfile.mkdtemp(prefix=prefix))
    if RUN in os.environ:
        (Path(os.environ[RUN]) / found.name).symlink_to(found)
    return found


def end(run: Path) -> list[str]:
    """End every process of a run and remove its folders. Return the command lines of the processes that were left."""
    folders = [path.readlink() for path in run.iterdir()]
    left = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is not ours
            if _belongs(entry, run, folders):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                os.kill(int(entry.name), signal.SIGKILL)
                if command:  # a zombie has none
                    left.append(command)
    for path in (*folders, run):
        shutil.rmtree(path, ignore_errors=True)
    return left


def _belongs(entry: Path, run: Path, folders: list[Path]) -> bool:
    if f"{RUN}={run}".encode() in (entry / "environ").read_bytes().split(b"\0"):
        return True
    directory = Path(os.readlink(entry / "cwd").removesuffix(" (deleted)"))
    return any(directory.is_relative_to(folder) for folder in folders)
