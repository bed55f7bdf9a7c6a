"""`deploy` warns before it waits if the workers have too few CPUs for what the replicas reserve."""

from __future__ import annotations

import re

import pytest

from cluster.cpu_warnings import cpu_warnings, reserved_cpus
from dispatcher.config.settings import Settings, parse_settings
from serve_app.applications import cluster_place

FOUR = {name: {"adapter": "twilio", "channel": "sms"} for name in ("a", "b", "c", "d")}


def settings(**changes: int) -> Settings:
    vendors = {**FOUR, "a": {**FOUR["a"], **changes}}
    return parse_settings({"vendors": vendors, "routes": [{"channel": "sms", "chain": list(FOUR)}]})


def test_what_is_reserved_is_the_sum_of_the_fewest_replicas() -> None:
    """Two intake replicas, two supervisors and four vendor actors reserve 2.5 CPUs, as docs/deployment.md says."""
    assert reserved_cpus(settings(), cluster_place(2), 2) == 2.5
    assert reserved_cpus(settings(replicas_min=3), cluster_place(2), 3) == 3.0
    assert reserved_cpus(settings(), cluster_place(1), 1) == 2.25


@pytest.mark.parametrize(
    ("cpus", "said"),
    [
        pytest.param([0.0, 8.0, 8.0], [], id="room for everything twice, and after a loss"),
        pytest.param([0.0, 2.5, 2.5], [], id="exactly enough"),
        pytest.param([0.0, 1.0, 1.0], ["have 2 CPUs, .* reserve 2.5: without a new machine"], id="some cannot start"),
        pytest.param([0.0, 4.0, 2.0], ["when the largest worker is lost, 2 are left"], id="not after a loss"),
        pytest.param([5.0], [], id="one worker, so nothing is left after a loss in any case"),
        pytest.param([0.0, 2.5, 0.0], ["a change of intake cannot end"], id="a change finds no room"),
        pytest.param([4.0], ["a change of everything goes on in steps"], id="a change finds some room"),
        pytest.param(
            [1.5, 1.5], ["the largest worker is lost, 1.5 are", "goes on in steps.* needs 5 "], id="two of them"
        ),
    ],
)
def test_too_few_cpus_are_told_with_their_consequence(cpus: list[float], said: list[str]) -> None:
    """Each warning has both sums and says what happens. Machines without CPUs, such as the head, run no replicas."""
    found = cpu_warnings(cpus, settings(), cluster_place(2))
    assert len(found) == len(said)
    for warning, pattern in zip(found, said, strict=True):
        assert re.search(pattern, warning), warning
