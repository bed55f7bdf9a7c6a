"""The table of lost machines says MISSED where one run did not reach what it must, and which commit was measured."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.cluster_table import BARS, COLUMNS, missed, table

GOOD: dict[str, Any] = {
    "name": "cut",
    "fault": "worker cut off 10 s",
    "commit": "0123456789",
    "accepted_at_first_try": 0.998,
    "last_failure_s": 2.0,
    "gap_s": 2.0,
    "lost": 0,
    "repeated": 0,
    "held": 2,
    "back_s": 25.0,
    "later": {"gap_after_heal_s": 0.4},
}


def test_the_median_and_the_worst_run_are_shown() -> None:
    line = table([GOOD, {**GOOD, "gap_s": 3.0}, GOOD]).splitlines()[2]
    assert line.startswith(
        "| worker cut off 10 s (`hold`) | 3 | 0.998 | 2 | 2 (3) | 0.4 | 25 | 0 | 0 |  | 2 | 0123456 |"
    )


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"gap_s": 5.1}, "gap_s"),
        ({"lost": 1}, "lost"),
        ({"repeated": 1}, "repeated"),
        ({"later": {"gap_after_heal_s": 1.2}}, "gap_after_heal_s"),
        ({"later": {}}, "gap_after_heal_s"),
        ({"name": "head", "accepted_at_first_try": 0.99}, "accepted_at_first_try"),
    ],
)
def test_one_run_is_enough_to_miss(change: dict[str, Any], column: str) -> None:
    """A figure that was not measured is a miss too."""
    row = {**GOOD, **change}
    assert missed(row) == [column]
    assert table([{**GOOD, "name": row["name"]}, row]).count("MISSED") == 1


def test_each_bar_is_of_a_column() -> None:
    assert {column for bars in BARS.values() for column in bars} <= COLUMNS.keys()
    assert missed(GOOD) == []
