"""The benchmark of a tenfold load says never, and not the end of its load, of a backlog that stayed old."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.elastic import reading, together

STEP_S, END_S = 100.0, 103.0


def reactions(*ages_s: float) -> dict[str, Any]:
    """Return the reactions to a load that had these ages of the backlog, in samples each second from the step on."""
    samples = [
        {"at_s": STEP_S + n, **{f"{v}_{what}": value for v in ("sms-a", "email-a") for what, value in found.items()}}
        for n, age_s in enumerate(ages_s)
        for found in ({"actors": 1.0, "age_s": age_s, "queued": 0.0},)
    ]
    return dict(reading(samples, STEP_S, END_S))


@pytest.mark.parametrize(
    ("ages_s", "wanted"), [((0.1, 0.2, 0.3), 0.0), ((0.1, 1.5, 0.3), 1.5), ((0.1, 1.5, 2.5, 0.1), None)]
)
def test_the_backlog_is_young_again_after_its_last_old_sample(ages_s: tuple[float, ...], wanted: float | None) -> None:
    assert reactions(*ages_s)["sms-a"]["age_under_1_s_again_after_s"] == wanted


def test_a_round_that_stayed_old_is_the_slowest() -> None:
    counts = dict.fromkeys(("accepted", "unacknowledged", "lost", "duplicated", "unexplained"), 0)
    rows = [
        {**reactions(*ages), **counts, "watched": ["sms-a"], "name": name}
        for name, ages in (("old", (0.1, 2.0, 2.5)), ("young", (0.1, 0.2, 0.3)), ("short", (0.1, 2.0, 0.1)))
    ]
    assert together(rows)["name"] == "short"
