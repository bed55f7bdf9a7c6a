"""Tests how the growth in a soak is read."""

from __future__ import annotations

import pytest

from benchmarks.load_readings import SOAK_MINUTES, soak_growth


@pytest.mark.parametrize(
    ("minutes", "values", "misses"),
    [
        (SOAK_MINUTES, (5.0, 6.0), []),
        (30, (5.0, 6.0), [f"not {SOAK_MINUTES} minutes"]),
        (SOAK_MINUTES, (900.0, 5.0), ["the machine was too busy to tell"]),
    ],
    ids=["a quiet soak", "a short one", "one beside other work"],
)
def test_a_soak_that_tells_nothing_is_a_miss(minutes: int, values: tuple[float, float], misses: list[str]) -> None:
    """A soak that is too short, or in which other work hides any growth, holds no bar."""
    rows = [{"accept_ms_p99": values[n % 2]} for n in range(minutes)]
    assert list(soak_growth("accept_ms_p99", "ms")({"minutes": rows}).misses) == misses
