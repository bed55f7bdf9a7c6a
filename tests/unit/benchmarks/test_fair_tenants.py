"""Checks how the flood of one tenant is judged: by the median of the rounds, and only by rounds in which the flood
lasted until the end.
"""

from __future__ import annotations

from typing import Any

from benchmarks.fair_tenants import FLOOD, flood, verdicts


def row(accept: float, delivery: float, left: int = 100) -> dict[str, Any]:
    return {"accept_p99_ratio": accept, "delivery_p99_ratio": delivery, "left": left}


def test_the_median_round_decides() -> None:
    assert verdicts([row(1.0, 1.9), row(9.0, 1.9), row(1.5, 9.0)]) == []
    assert verdicts([row(2.1, 1.0)]) == ["accept p99: × 2.10 of idle, more than 2.0"]
    assert verdicts([row(1.0, 2.6)]) == ["delivery p99: × 2.60 of idle, more than 2.0"]


def test_a_flood_that_was_over_proves_nothing() -> None:
    (missed,) = verdicts([row(1.0, 1.0, left=0)])
    assert "over before" in missed


def test_the_flood_is_another_tenants() -> None:
    """The flood has a tenant of its own. The measured checkouts are posted without a key and so belong to `default`."""
    assert flood(1, 0).tenant == FLOOD != "default"
