"""Tests that time zones come from the package `tzdata` on a host that has none, as in slim images."""

from __future__ import annotations

import os
import subprocess
import sys

ASK = """
import sys
{before}
from datetime import datetime, timezone
from dispatcher.core.accepting.quiet_hours import zone
print(datetime(2030, 7, 1, 12, tzinfo=timezone.utc).astimezone(zone("Europe/Berlin")).isoformat())
"""


def asked(before: str = "") -> subprocess.CompletedProcess[str]:
    """Run a process that prints a time in Berlin, on a host without time zone files. Return the ended process with its
    output.

    `before` is code that the process runs first.
    """
    words = [sys.executable, "-c", ASK.format(before=before)]
    return subprocess.run(
        words, env={**os.environ, "PYTHONTZPATH": ""}, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_host_without_time_zones_has_those_of_the_package() -> None:
    """A host has no time zone files of its own. A time in Berlin is right all the same, because a package has the
    zones.
    """
    done = asked()
    assert done.stdout == "2030-07-01T14:00:00+02:00\n", done.stderr


def test_without_the_package_such_a_host_has_none() -> None:
    """On a host without time zones and without `tzdata`, a time zone is not found. So the test above would fail without
    the package.
    """
    done = asked("sys.modules['tzdata'] = None")
    assert done.returncode != 0 and "Europe/Berlin" in done.stderr, done.stdout
