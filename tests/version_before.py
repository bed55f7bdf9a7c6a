"""Unpacks the code of the version before this one, so that tests can run both versions on one Redis.

    python -m tests.version_before COMMIT

The code is kept as an archive in tests/data. This command makes the archive again, from the code of another commit and
from `tests/contract/peer.py` as it is now. tests/data/version_before.md explains more.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARCHIVE = ROOT / "tests" / "data" / "version_before.tar.xz"
CODE = ("dispatcher", "actors", "cluster", "serve_app")
COMMIT = "608f88d8"
PEER = "tests/contract/peer.py"


def unpack(folder: Path) -> Path:
    """Unpack the archive into `folder`. Return the folder of its code, for use in PYTHONPATH."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else archive.extractall(folder)
    return folder / "version_before"


def freeze(commit: str) -> None:
    """Write the archive of the earlier version's code again, from the commit `commit`."""
    command = ["git", "archive", "--prefix=version_before/", commit, *CODE]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(found)) as source, tarfile.open(ARCHIVE, "w:xz", preset=9) as target:
        for member in source:
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
        target.add(ROOT / PEER, "version_before/peer.py")


if __name__ == "__main__":
    freeze(sys.argv[1])
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size:,} bytes")
