"""Tests that the dispatcher package works in a process without Ray."""

from __future__ import annotations

import subprocess
import sys


def test_no_part_of_it_needs_ray() -> None:
    """The simulated outage of the unit tests runs in a new process, which has not imported Ray at its end."""
    code = (
        "import sys; from tests.unit.play import outage; from tests.virtual import run_virtual; run_virtual(outage()); "
        "sys.exit('ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
