"""Two commits are compared pair by pair, so that a noisy minute affects both."""

from __future__ import annotations

import pytest

from benchmarks import pairs

CONDITION = {
    "accept_ms_p50": {"median": 2.0},
    "accept_ms_p99": {"median": 4.0},
    "cpu_ms_per_trigger_client": {"median": 100.0},
    **{f"cpu_ms_per_trigger_{part}": {"median": 0.5} for part in pairs.SERVICE},
}


def test_the_clients_cpu_does_not_count() -> None:
    assert pairs.read(CONDITION) == {"accept_ms_p50": 2.0, "accept_ms_p99": 4.0, "cpu_ms_per_trigger": 3.0}


def test_the_ratio_is_of_each_pair_and_not_of_the_medians() -> None:
    ours = [dict.fromkeys(pairs.FIGURES, value) for value in (1.0, 20.0, 3.0)]
    other = [dict.fromkeys(pairs.FIGURES, value) for value in (2.0, 10.0, 1.0)]
    found = pairs.compared(ours, other)["accept_ms_p99"]
    assert found["ratio"] == {"median": 2.0, "min": 0.5, "max": 3.0, "all": [0.5, 2.0, 3.0]}
    assert (found["ours"]["median"], found["other"]["median"]) == (3.0, 2.0)


def test_a_pair_that_lacks_its_other_half_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        pairs.compared([dict.fromkeys(pairs.FIGURES, 1.0)], [])
