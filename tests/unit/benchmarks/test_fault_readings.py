"""The rows about faults are judged by their bars, by their size, and by what was lost."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.measured_table import ROWS, cell
from tests.unit.benchmarks.fault_figures import FAULTS


def cells(file: str, **changes: Any) -> list[str]:
    """Return the cells of all rows of this result file."""
    return [cell(row, {**FAULTS[file], **changes}) for row in ROWS if row.file == file]


def test_faults_without_a_miss_are_told_with_their_spread() -> None:
    (starts, accept), whole, (kills,) = (cells(name) for name in ("starts", "killed_whole", "random_kills"))
    kept = "lost 0 of 19,200, repeated 3 under `resend`"
    ready = "2 of the faults later than drawn; ready after 14 s (13 to 20)"
    assert starts == f"25 starts with seed 7: `up` ended 0, over 30 s 0, {ready}; {kept}"
    assert accept == "13 s (12 to 19)"
    assert whole == [f"14 s (13 to 16); {kept}", f"24 s (20 to 29); {kept}"]
    assert kills == f"98.5 % of 19,200 at 40/s, 73 faults, most failed by Redis killed (90 after 6); {kept}"


@pytest.mark.parametrize(
    ("file", "changes", "missed"),
    [
        ("starts", {"ended": 1}, 1),
        ("starts", {"over_30_s": 1}, 1),
        ("starts", {"never_served": 1}, 1),
        ("starts", {"starts": 24}, 1),
        ("starts", {"pairs_missed": ["Redis frozen"]}, 1),
        ("starts", {"seconds_missed": [3]}, 1),
        ("starts", {"lost": 1}, 2),
        ("killed_whole", {"first_accept_s": {"median": 15.1, "min": 1, "max": 16}}, 1),
        ("killed_whole", {"last_accept_s": {"median": 25.1, "min": 1, "max": 26}}, 1),
        ("killed_whole", {"last_accept_s": None}, 1),
        ("killed_whole", {"clients": 100}, 2),
        ("killed_whole", {"ended": 1}, 2),
        ("random_kills", {"first_try_percent": 97.9}, 1),
        ("random_kills", {"seconds": 60.0}, 1),
        ("random_kills", {"ended": 1}, 1),
        ("random_kills", {"lost": 1}, 1),
        ("random_kills", {"unexplained": 1}, 1),
    ],
)
def test_a_row_about_faults_is_missed(file: str, changes: dict[str, Any], missed: int) -> None:
    assert sum("MISSED" in one for one in cells(file, **changes)) == missed


def test_kills_without_a_failed_first_try_name_no_fault() -> None:
    (told,) = cells("random_kills", by_fault={"Redis killed": {"faults": 6, "failed_first": 0}})
    assert "most failed" not in told
    assert "most failed" not in cells("random_kills", by_fault={})[0]
