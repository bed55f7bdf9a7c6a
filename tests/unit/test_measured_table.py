"""The table of measured numbers marks what misses its bar, and says which command and commit a figure is of."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import results
from benchmarks.__main__ import QUESTIONS
from benchmarks.measured_table import ROWS, Found, Row, as_markdown


def row(**bars: Any) -> Row:
    return Row("x", "x", lambda figures: Found(0, ""), **bars)


@pytest.mark.parametrize(
    ("bars", "value", "verdict"),
    [
        ({"must": 10, "aim": 5}, 5.0, None),
        ({"must": 10, "aim": 5}, 5.1, "aim missed"),
        ({"must": 10, "aim": 5}, 10.1, "missed"),
        ({"must": 700, "aim": 1157, "least": True}, 1157, None),
        ({"must": 700, "aim": 1157, "least": True}, 700, "aim missed"),
        ({"must": 700, "aim": 1157, "least": True}, 699, "missed"),
        ({"must": 0}, 1, "missed"),
        ({}, 10**9, None),
    ],
)
def test_a_value_is_held_to_what_it_must_be_and_then_to_the_aim(
    bars: dict[str, Any], value: float, verdict: str | None
) -> None:
    assert row(**bars).verdict(value) == verdict


def test_each_row_is_of_a_benchmark_there_is() -> None:
    assert {row.file for row in ROWS} <= {question.name for question in QUESTIONS}


def test_a_miss_is_marked_and_its_command_and_commit_named() -> None:
    def read(name: str) -> Any:
        found = results.read(name)
        if name == "soak":
            found["figures"] |= {"lost": 1, "duplicated": 2}
            found |= {"arguments": ["--minutes", "7", "--results", "elsewhere"]}
            found["environment"]["commit"] = "0123456789"
        if name == "accept_latency":
            found["figures"]["hanging_over_healthy"] = {"116/s": 1.1, "500/s": 9.0}
            found |= {"arguments": ["--results", "elsewhere"]}
        return found

    lines = {line.split(" | ")[0].removeprefix("| "): line for line in as_markdown(read).splitlines()}
    soak = lines["soak: lost or repeated"]
    assert "**lost 1, repeated 2 of" in soak
    assert soak.endswith(": missed** | 0123456 | `python -m benchmarks.soak --minutes 7` |")
    hanging = lines["accept p99, every vendor hanging ÷ healthy"]
    assert "| 1.2 | 1 | 1.1 at 116/s, 9 at 500/s; aim missed |" in hanging
    assert hanging.endswith("| `make bench NAME=accept_latency` |")
