"""Records with each measurement the commit, the machine and the versions for which it holds."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from dispatcher.core.json_object import JsonObject

ROOT = Path(__file__).parents[2]

DOCUMENTS = tuple(
    f":(exclude){path}" for path in ("benchmarks/results", "cluster/capacity/profile.json", "docs", "*.md")
)
"""Files whose changes do not affect a measurement, as path specifications of git."""

PACKAGES = ("aiohttp", "hiredis", "jinja2", "ray", "redis", "uvloop")


def commit() -> str:
    """Return the commit from which the code runs, with `-dirty` at the end if files differ from it.

    Files that a measurement itself writes (`DOCUMENTS`) do not count. Return "unknown" outside a git repository.
    """
    git = ["git", "-C", str(ROOT)]
    try:
        command = [*git, "describe", "--always", "--abbrev=10", "--exclude=*"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ".", *DOCUMENTS], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # an installed wheel
    return f"{found}-dirty" if changed else found


COMMIT = commit()
"""The commit at the time this module was loaded. The repository may have a newer commit when a long run ends."""


def environment(packages: Sequence[str] = PACKAGES) -> JsonObject:
    """Return the machine, the commit, the versions of `packages`, and the machine's load average now."""
    return {
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": COMMIT,
        "machine": f"{platform.system()} {platform.machine()}, {_cpu()}, {os.cpu_count()} cores",
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def version(package: str) -> str | None:
    """Return the installed version of a package, or None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
