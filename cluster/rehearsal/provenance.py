"""Records what a figure holds for: commit, machine, versions. A figure without the machine is a rumour."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

DOCUMENTS = tuple(
    f":(exclude){path}" for path in ("benchmarks/results", "cluster/capacity/profile.json", "docs", "*.md")
)
"""Files whose changes do not change what is measured, as git's path specifications."""

PACKAGES = ("aiohttp", "hiredis", "jinja2", "ray", "redis", "uvloop")


def commit() -> str:
    """The commit the code was run from, marked when files differ from it; those that a run writes do not count."""
    git = ["git", "-C", str(ROOT)]
    try:
        command = [*git, "describe", "--always", "--abbrev=10", "--exclude=*"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ".", *DOCUMENTS], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # an installed wheel
    return f"{found}-dirty" if changed else found


COMMIT = commit()
"""The commit when this module was loaded; a long run may end after the next commit."""


def environment(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Return machine, commit, versions, and how busy the machine was when the run ended."""
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
    """The installed version; None when it is not installed."""
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
