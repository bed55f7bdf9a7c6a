"""Checks the functions that Serve calls to decide the size of a pool. A vendor pool gets the size that its actors
report.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from serve_app.autoscaling import forward, intake_size


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
    """The pool gets the largest size that an actor last asked for.

    If no actor reports, for example after a crash, the size stays.
    """
    assert forward(context(metrics)) == (expected, {})


def intake(requests: float, now: int = 2, live: int = 2, **told: float) -> Any:
    """Return the facts that Serve gives to the autoscaling policy for the intake application.

    The target is ten open requests for each replica. `told` are values that both replicas report.
    """
    metrics = {name: {"r1": value, "r2": value} for name, value in (BUSY | told).items()}
    config = SimpleNamespace(get_target_ongoing_requests=lambda: 10.0)
    return SimpleNamespace(
        aggregated_metrics=metrics,
        target_num_replicas=now,
        current_num_replicas=live,
        total_num_requests=requests,
        config=config,
    )


BUSY = {"cpu": 0.8, "waiting": 0.0, "free_cores": 1.0, "start_complete": 1.0}


@pytest.mark.parametrize(
    ("ctx", "expected"),
    [
        pytest.param(intake(90), 3, id="one more at a time"),
        pytest.param(intake(90, now=3), 3, id="one is on its way"),
        pytest.param(intake(90, free_cores=0.2), 2, id="the machine is full"),
        pytest.param(intake(90, cpu=0.1), 2, id="they wait for the store"),
        pytest.param(intake(90, cpu=0.2, waiting=0.9, free_cores=0.0), 2, id="they wait for a core"),
        pytest.param(intake(900, start_complete=0.0), 2, id="clients wait for a start"),
        pytest.param(intake(4, now=3, live=3), 1, id="idle"),
        pytest.param(intake(0, live=0), 2, id="all are away"),
        pytest.param(
            SimpleNamespace(**{**vars(intake(90)), "aggregated_metrics": None}), 2, id="nobody has told anything"
        ),
    ],
)
def test_intake_grows_where_it_helps(ctx: Any, expected: int) -> None:
    """Intake grows only if another replica would help.

    On a full machine one more replica would make requests wait longer.
    """
    assert intake_size(ctx) == (expected, {})
