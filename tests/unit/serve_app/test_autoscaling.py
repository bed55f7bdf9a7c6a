"""The policy that Serve asks for a pool's size: it repeats the actors' wish, and holds when nobody has one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from serve_app.autoscaling import forward


def context(metrics: Any, now: int = 3) -> Any:
    return SimpleNamespace(aggregated_metrics=metrics, target_num_replicas=now)


def series(*values: float) -> list[Any]:
    return [SimpleNamespace(timestamp=n, value=value) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        pytest.param({"replicas": {"r1": 2.0}}, 2, id="a number"),
        pytest.param({"replicas": {"r1": 2.0, "r2": 5.0, "r3": 1.0}}, 5, id="the largest wish"),
        pytest.param({"replicas": {"r1": series(1.0, 4.0)}}, 4, id="the latest of a series"),
        pytest.param({"replicas": {"r1": [1.0, 4.0]}}, 4, id="of a series of bare numbers"),
        pytest.param({"replicas": {"r1": 4.0, "r2": []}}, 4, id="one has said nothing yet"),
        pytest.param(None, 3, id="no metrics at all"),
        pytest.param({}, 3, id="none of ours"),
        pytest.param({"replicas": {}}, 3, id="nobody reports"),
        pytest.param({"replicas": {"r1": []}}, 3, id="reports without a value"),
        pytest.param({"replicas": {"r1": None}}, 3, id="reports of nothing"),
    ],
)
def test_the_wish_is_forwarded_and_silence_holds(metrics: Any, expected: int) -> None:
    """A crash of those who report must not scale a pool down."""
    assert forward(context(metrics)) == (expected, {})
