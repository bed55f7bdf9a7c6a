"""Plays a few hundred seeds of the simulation.

The tests also check that a seed can be repeated and that broken code is found.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from unittest import mock

import pytest

from dispatcher.deliver.store_link import StoreLink
from tests.simulation.__main__ import show, show_all
from tests.simulation.mutations import MUTATIONS
from tests.simulation.run import run, stage
from tests.simulation.scene import Plot

SEEDS = 200
SEEDS_MAX = 1500
"""The number of seeds within which each mutation is found."""

PLOTS = {
    # Mutations that are found soon only by one kind of plot. The others are found by mixed plots.
    "audit_of_todays_lanes_alone": Plot.LOST_CLAIMS,
    "client_that_repeats_by_itself": Plot.LOST_CLAIMS,
    "begun_amid_the_goodbye": Plot.REPLACEMENT,
    "claim_by_the_dead": Plot.SLEEP,
    "start_without_a_fence": Plot.SLEEP,
}

FOUND_BY = {
    "claim_by_the_dead": (162,),
    "no_self_audit": (34, 45, 82),
    "plan_said_once": (60, 114, 214),
    "settle_fenced_by_the_entry_alone": (102, 214, 218),
    "start_without_a_fence": (102, 116, 149),
    "swept_once": (307,),
    "twins_that_are_strangers": (48, 119, 279),
}
"""The first seeds that find a mutation, for mutations that only a late seed finds. They are tried before all others.

A change of the product may make them find nothing. The test then looks through all seeds, which takes up to a minute.
"""


@pytest.fixture(autouse=True)
def staged() -> Iterator[None]:
    with stage():
        yield


def test_nothing_is_lost_or_repeated_without_a_cause() -> None:
    """In 200 seeds with all kinds of faults, nothing is lost or repeated without a cause.

    `make sim` plays 10,000 seeds.
    """
    failed = {seed: result.violations[0] for seed in range(SEEDS) if (result := run(seed)).violations}
    assert failed == {}


@pytest.mark.parametrize("kind", ["kill", "freeze"])
def test_every_await_of_a_delivery_may_be_the_last(kind: str) -> None:
    """The actor that claims first is killed, or frozen until it is declared dead, at each of its next 80 steps in
    turn. No run has a violation.
    """
    for step in range(80):
        result = run(7, crash=(kind, step))
        assert result.crashed
        assert result.violations == [], (kind, step)


def test_the_same_seed_is_the_same_run() -> None:
    """The same seed played twice gives the same trace, and other seeds give other traces."""
    for seed in range(10):
        one, two = list[str](), list[str]()
        assert run(seed, one.append).digest == run(seed, two.append).digest
        assert one == two
    assert len({run(seed).digest for seed in range(10)}) == 10


def test_a_seed_is_the_same_in_another_process() -> None:
    """A seed gives the same output in two processes with different hash seeds, in which sets have different orders."""
    digests = set()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "11"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_a_failure_says_how_to_repeat_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A failed seed is printed with the command that shows its trace.

    The run of all seeds exits with 1, and so does that command.
    """
    with MUTATIONS["key_that_means_nothing"]():
        assert show_all(0, 20, jobs=1) == 1
        command = re.search(r"python -m tests.simulation --seed (\d+)\n", capsys.readouterr().out)
        assert command is not None
        assert show(int(command[1])) == 1
    assert re.search(r"violated: order-\d was accepted as", capsys.readouterr().out)


BEHIND_RENEWAL = ("claim_by_the_dead", "start_without_a_fence")


def _trusting(self: StoreLink) -> None:
    """Count any answer of the store as proof that this incarnation is live, also an answer to an old question."""
    self.last_reply_s = self._clock.now_s()


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_broken_promise_is_found(name: str) -> None:
    """With each mutation of the product, some seed has a violation, which shows that the simulation can fail."""
    # An actor that was frozen asks the store before it sends, so these fences have a second one. Both are removed.
    trust = mock.patch.object(StoreLink, "replied", _trusting) if name in BEHIND_RENEWAL else contextlib.nullcontext()
    with MUTATIONS[name](), trust:
        seeds = (*FOUND_BY.get(name, ()), *range(SEEDS_MAX))
        assert any(run(seed, plot=PLOTS.get(name)).violations for seed in seeds), name
