"""Tests the systemd units with systemd's own `systemd-analyze`, which reads them and starts nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

FILES = Path(str(resources.files("cluster") / "files"))
UNITS = ("dispatcher.service", "dispatcher-node.service")
EXPOSURE_MAX = 3.4
"""The most exposure that `systemd-analyze security` may count. Without the options of the units it is 8.5."""


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("systemd-analyze is missing: install the package `systemd`")
    if found is None:
        pytest.skip("systemd-analyze is not installed (package `systemd`)")
    return found


def complaints(analyze: str, text: str, folder: Path, name: str) -> str:
    """Return what `systemd-analyze verify` says about this unit. Each program in the unit is replaced by the
    interpreter.
    """
    unit = folder / name
    unit.write_text(re.sub(r"^(Exec\w+)=\S+", rf"\1={sys.executable}", text, flags=re.MULTILINE))
    words = [analyze, "verify", "--man=no", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if name.partition(".")[0] in line)


@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_no_complaint(analyze: str, tmp_path: Path, name: str) -> None:
    """`systemd-analyze verify` finds no fault in the unit."""
    assert complaints(analyze, (FILES / name).read_text(), tmp_path, name) == ""


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("KillMode=mixed", "KillMode=mixd"),
        ("OOMScoreAdjust=-500", "OOMScoreAdjust=-5000"),
        ("ProtectSystem=strict", "ProtectSystem=strong"),
        ("StateDirectoryMode=", "StateDirectoryRights="),
        ("TimeoutStopSec=", "TimeoutStop="),
        ("StartLimitIntervalSec=0", "StartLimitInterval=never"),
    ],
)
def test_a_wrong_option_is_found(analyze: str, tmp_path: Path, name: str, right: str, wrong: str) -> None:
    """`systemd-analyze verify` finds a wrong option or value. systemd itself would ignore the line with a warning."""
    text = (FILES / name).read_text()
    assert right in text
    assert complaints(analyze, text.replace(right, wrong), tmp_path, name) != ""


@pytest.mark.parametrize("name", UNITS)
def test_the_service_can_do_little_else(analyze: str, name: str) -> None:
    """`systemd-analyze security` counts an exposure of at most `EXPOSURE_MAX`, because the unit gives up rights."""
    words = [analyze, "security", "--offline=true", "--no-pager", str(FILES / name)]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", shown)
    assert found and float(found[1]) <= EXPOSURE_MAX, shown[-3000:]
