"""Checks how many actors the plan gives a vendor's pool for its calls and its backlog."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.plan.sizing import CALLS_MAX_PER_S, pool_size

DEFAULTS: dict[str, Any] = {"concurrency": 8, "rate_per_s": None, "live": 1, "least": 1, "most": 4}


@pytest.mark.parametrize(
    ("calls_per_s", "latency_s", "backlog", "changes", "expected"),
    [
        pytest.param(0, 0, 0, {}, 1, id="idle"),
        pytest.param(64, 0.1, 0, {}, 1, id="as busy as it may be"),
        pytest.param(65, 0.1, 0, {}, 2, id="busier"),
        pytest.param(60, 0.1, 20, {}, 2, id="cannot catch up in time"),
        pytest.param(60, 0.1, 20, {"rate_per_s": 50.0}, 1, id="nothing to gain beyond the contract"),
        pytest.param(0, 0, 10**9, {"live": 3}, 4, id="never past the most"),
        pytest.param(0, 0, 10**9, {"most": 9}, 2, id="doubled at most"),
        pytest.param(0, 0, 10**9, {"most": 9, "live": 2}, 4, id="and again"),
        pytest.param(0, 0, 10**9, {"live": 0}, 2, id="nobody heard of yet"),
        pytest.param(0, 0, 10**9, {"least": 3}, 3, id="the least at once"),
        pytest.param(0, 0.1, 1000, {"rate_per_s": 100.0}, 2, id="what the contract can use"),
        pytest.param(0, 0.1, 1000, {"rate_per_s": 100.0, "live": 4}, 2, id="nor kept for more than it can use"),
        pytest.param(65, 0.1, 0, {"live": 3}, 2, id="fewer would do"),
        pytest.param(45, 0.1, 0, {"live": 2}, 2, id="fewer would be busy: stays"),
        pytest.param(39, 0.1, 0, {"live": 2}, 1, id="fewer would be idle enough"),
        pytest.param(0, 0, 0, {"live": 4, "least": 2}, 2, id="down to the least"),
        pytest.param(CALLS_MAX_PER_S, 0.001, 0, {"concurrency": 64}, 2, id="a core carries only so much"),
    ],
)
def test_a_pool_fits_its_work(
    calls_per_s: float, latency_s: float, backlog: int, changes: dict[str, Any], expected: int
) -> None:
    """The size of a pool follows its calls and its backlog.

    In these cases an actor makes eight calls of 0.1 s at the same time, so 80 calls a second at most. Above 64 a second
    for each actor the pool grows.
    """
    assert pool_size(calls_per_s, latency_s, backlog, **{**DEFAULTS, **changes}) == expected


@given(st.floats(0, 1e4), st.integers(0, 10**6), st.integers(1, 8), st.floats(1, 1000))
def test_no_actor_is_there_only_to_wait_for_permits(calls: float, backlog: int, live: int, rate_per_s: float) -> None:
    """A pool has no more actors than needed to use up its contract rate at a normal load."""
    size = pool_size(calls, 0.1, backlog, **{**DEFAULTS, "live": live, "most": 8, "rate_per_s": rate_per_s})
    assert size == 1 or (size - 1) * 80 * 0.8 < rate_per_s


@given(st.floats(0, 1e4), st.floats(0, 10), st.integers(0, 10**6), st.integers(1, 8))
def test_a_pool_comes_to_rest(calls_per_s: float, latency_s: float, backlog: int, live: int) -> None:
    """After four steps with unchanged work, the size of a pool does not change any more."""
    size = live
    for _ in range(4):
        size = pool_size(calls_per_s, latency_s, backlog, **{**DEFAULTS, "live": size, "most": 8})
        assert 1 <= size <= 8
    assert pool_size(calls_per_s, latency_s, backlog, **{**DEFAULTS, "live": size, "most": 8}) == size
