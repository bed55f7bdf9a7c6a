"""Time zones come from the package `tzdata` where the host has none, as slim images do."""

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
    """A process on a host without time zones."""
    words = [sys.executable, "-c", ASK.format(before=before)]
    return subprocess.run(
        words, env={**os.environ, "PYTHONTZPATH": ""}, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_host_without_time_zones_has_those_of_the_package() -> None:
    """Quiet hours and dates are right there too."""
    done = asked()
    assert done.stdout == "2030-07-01T14:00:00+02:00\n", done.stderr


def test_without_the_package_such_a_host_has_none() -> None:
    """So the package is what gave them, and the test above would fail without it."""
    done = asked("sys.modules['tzdata'] = None")
    assert done.returncode != 0 and "Europe/Berlin" in done.stderr, done.stdout
