"""Waits in a load step are measured from the due time. A trigger that was not accepted counts as 15 s."""

from __future__ import annotations

import pytest

from benchmarks.load_step import figures
from cluster.rehearsal.load import REFUSED_MS, Posted, waited_ms


def test_a_refusal_counts_as_fifteen_seconds() -> None:
    """A trigger that was not accepted counts as 15 s of waiting, because a service that refuses would otherwise look
    fast.
    """
    step = [Posted(f"N{n}", due_s=float(n), accepted_s=n + 0.01, first_status=202) for n in range(10)]
    step[7].accepted_s, step[7].first_status = None, 503
    assert waited_ms(step)[6:8] == [pytest.approx(10.0), REFUSED_MS]
    found = figures(step[:5], step)
    assert found["before_p99_ms"] == pytest.approx(10.0)
    assert found["step_p99_ms"] == found["second_half_p99_ms"] == REFUSED_MS
    assert found["first_try"] == 0.9
