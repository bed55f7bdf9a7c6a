"""The draw of faults covers every part, both kinds and every second of a start, whatever the seed."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks.killed_whole import last_accept_s, of_all
from benchmarks.process_faults import EVERY_S, FROZEN, FROZEN_S, PAIRS, Fault, draw_kills, draw_starts, under
from benchmarks.random_kills import accepts, by_fault
from benchmarks.starts import Started, summary
from benchmarks.whole_service import bodies
from cluster.rehearsal.load import Posted

BIRTHS_S = {
    "Redis": 1.3,
    "Serve controller": 5.2,
    "HAProxy": 7.9,
    "supervisor": 8.4,
    "vendor actor": 8.1,
    "intake replica": 9.6,
}
LENGTH_S = 13.2


@pytest.mark.parametrize("seed", range(50))
def test_25_starts_have_every_part_kind_and_second(seed: int) -> None:
    """Each part is killed and frozen, each second from the first part on has a fault, and no part is hit too early."""
    faults = draw_starts(random.Random(seed), BIRTHS_S, LENGTH_S, 25)
    assert len(faults) == 25
    assert {(fault.part, fault.kind) for fault in faults} == set(PAIRS)
    assert {math.floor(fault.at_s) for fault in faults} == set(range(1, 14))
    assert all(fault.at_s >= BIRTHS_S[fault.part] for fault in faults)


def test_a_draw_is_the_seeds() -> None:
    """The same seed draws the same faults, and another seed draws others in another order."""
    one, again, other = (draw_starts(random.Random(seed), BIRTHS_S, LENGTH_S, 25) for seed in (1, 1, 2))
    assert one == again != other


def test_few_starts_are_drawn_too() -> None:
    assert len(draw_starts(random.Random(1), BIRTHS_S, LENGTH_S, 3)) == 3
    (fault,) = draw_starts(random.Random(1), dict.fromkeys(BIRTHS_S, 0.0), 10.0, 1)
    assert 0 <= fault.at_s <= 10


@pytest.mark.parametrize("seed", range(20))
def test_random_kills_come_one_at_a_time_and_cover_every_pair(seed: int) -> None:
    """Faults are 4 to 9 s apart. A frozen process continues before the next fault, and before the end of the load."""
    faults = draw_kills(random.Random(seed), 480.0)
    gaps = [later.at_s - fault.at_s for fault, later in pairwise(faults)]
    assert EVERY_S[0] - 0.01 <= min(gaps) <= max(gaps) <= EVERY_S[1] + 0.01
    assert faults[-1].at_s <= 480.0 - EVERY_S[0]
    assert {(fault.part, fault.kind) for fault in faults[: len(PAIRS)]} == set(PAIRS)
    for fault in faults:
        assert FROZEN_S[0] <= fault.frozen_s <= FROZEN_S[1] if fault.kind == FROZEN else fault.frozen_s == 0
    assert FROZEN_S[1] <= EVERY_S[0]


def test_the_policy_is_added_to_each_trigger_and_changes_no_other() -> None:
    plain = bodies(2)
    assert [(key, body) for key, body in under("hold", plain)] == [
        (key, {**body, "on_unknown": "hold"}) for key, body in plain
    ]
    assert all("on_unknown" not in body for _, body in plain)


# ---- figures of the runs

PLAIN = Started(4.5, 4.0, 5.0, 10, None, births_s={"Redis": 1.2, "supervisor": 3.0})
REDIS = Fault("Redis", "killed", 1.5)
GOOD = Started(14.0, 13.0, 16.0, 500, None, REDIS, 1.6)


def test_a_summary_counts_endings_long_starts_and_what_no_fault_covered() -> None:
    starts = [
        GOOD,
        replace(GOOD, ready_s=30.1, first_accept_s=29.0, fault=replace(REDIS, at_s=3.1), hit_s=4.2),
        replace(GOOD, ready_s=None, first_accept_s=None, served_s=None, exit_code=1, hit_s=None),
    ]
    found = summary(starts, PLAIN)
    assert (found["ended"], found["over_30_s"], found["never_served"]) == (1, 2, 1)
    assert (found["seconds_missed"], found["late"]) == ([2, 4], 1)
    assert "Redis killed" not in found["pairs_missed"]  # type: ignore[operator]
    assert len(found["pairs_missed"]) == len(PAIRS) - 1  # type: ignore[arg-type]
    assert found["first_accept_s"]["all"] == [13.0, 29.0]  # type: ignore[index]
    assert summary(starts[2:], PLAIN)["first_accept_s"] is None


def test_the_last_accept_of_the_waiting_callers_needs_all_of_them() -> None:
    posted = [Posted("a", 0.0, accepted_s=12.0), Posted("b", 0.0, accepted_s=15.5)]
    assert last_accept_s(posted, 10.0) == 5.5
    assert last_accept_s([*posted, Posted("c", 0.0)], 10.0) is None
    assert of_all([5.5, None]) is None
    assert of_all([5.5, 6.5])["median"] == 6.0  # type: ignore[index]


def test_failed_first_tries_count_for_the_fault_before_them() -> None:
    """A first try that fails counts for the last fault before it was due. Before the first fault it counts for none."""
    redis, intake = Fault("Redis", "killed", 0.0), Fault("intake replica", "frozen", 0.0, 2.0)
    posted = [Posted("a", 0.5), Posted("b", 1.5, first_status=503), Posted("c", 2.5, accepted_s=2.6, first_status=202)]
    posted += [Posted("d", 3.5, accepted_s=6.0), Posted("e", 4.5)]
    found = by_fault(posted, [(redis, 1.0), (intake, 3.0), (redis, 4.0)])
    assert found == {
        "Redis killed": {"faults": 2, "failed_first": 2},
        "intake replica frozen": {"faults": 1, "failed_first": 1},
    }
    told = accepts(posted)
    assert (told["first_try_percent"], told["refusing_s"]) == (20.0, 3.4)
