"""The carried rate of two cells is counted in a window, and it counts only if Redis was what limited them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.cells import TENANT, Carried, apart, rates, ratios
from benchmarks.cpu_quota import Controller, Reading, find_controller, quota
from benchmarks.measured_table import ROWS, cell
from cluster.rehearsal.load import Posted
from cluster.rehearsal.verdict import Verdict
from dispatcher.core.cells.owners import owner
from tests.unit.benchmarks.cell_figures import CELLS

FIGURES = CELLS["cells"]


def cells_of(**changes: Any) -> list[str]:
    """Return the cells of the table's two rows about cells."""
    return [cell(row, {**FIGURES, **changes}) for row in ROWS if row.file == "cells"]


def dead_cell(**changes: Any) -> dict[str, Any]:
    return {"dead_cell": {**FIGURES["dead_cell"], **changes}}


# ---- the table


def test_cells_without_a_miss_are_told_with_what_limited_them() -> None:
    assert cells_of() == [
        "1.90 (1.85 to 1.95; 3 rounds): 75/s → 142/s, each Redis held to 4% of a core, of which it used 95% or more, "
        "throttled in 90% of the periods or more; 35% of the machine or more was idle",
        "100 % of 400, 400 delivered; of the dead cell's keys 300 got 503",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"ratio": {"carried": {"median": 1.79, "min": 1.7, "max": 1.9}}},
        {"rounds": 2},
        {"one": {**FIGURES["one"], "redis_of_quota": {"min": 0.89}}},
        {"two": {**FIGURES["two"], "redis_of_quota": {"min": 0.89}}},
        {"two": {**FIGURES["two"], "idle": {"min": 0.09}}},
        dead_cell(others_first_try=399),
        dead_cell(others_delivered=399),
        dead_cell(others_repeated=1),
        dead_cell(dead_statuses={"503": 299, "202": 1}),
        dead_cell(dead_statuses={}),
        dead_cell(seconds=29.0),
    ],
)
def test_a_row_about_cells_is_missed(changes: dict[str, Any]) -> None:
    assert sum("MISSED" in one for one in cells_of(**changes)) == 1


# ---- what is carried


def test_only_what_happened_in_the_window_counts() -> None:
    """Four accepts in 2 s are 2/s. Six notifications of two a trigger are 1.5 triggers/s."""
    posted = [Posted(f"N{n}", 0.0, accepted_s=at) for n, at in enumerate((9.9, 10.0, 10.5, 11.0, 11.9, 12.0, None))]
    delivered = dict.fromkeys("abcdef", 11.0) | {"early": 9.9, "late": 12.0}
    assert rates(posted, delivered, (10.0, 12.0)) == (2.0, 1.5)


def carried(carried_per_s: float) -> Carried:
    rest = dict.fromkeys(Carried.__annotations__, 1.0)
    return {**rest, "carried_per_s": carried_per_s}  # type: ignore[typeddict-item]


def test_the_ratio_is_of_the_two_installations_of_one_round() -> None:
    """The median of the ratios is 1.9. The ratio of the medians would be 2."""
    found = ratios([carried(100), carried(50), carried(200)], [carried(190), carried(100), carried(200)])
    assert found["carried"]["all"] == [1.9, 2.0, 1.0]
    assert found["carried"]["median"] == 1.9


# ---- a dead cell


def keys(of: str, count: int) -> list[str]:
    found = (key for n in range(1000) if owner(TENANT, key := f"N{n:06d}", 2) == of)
    return [next(found) for _ in range(count)]


def test_a_dead_cells_keys_count_from_its_death_on() -> None:
    first, second, third = keys("0", 3)
    before, dead, refused = keys("1", 3)
    posted = [
        Posted(first, 1.0, accepted_s=1.1, status=202, first_status=202),
        Posted(second, 3.0, accepted_s=4.0, status=202, first_status=503, tries=2),
        Posted(third, 3.0, accepted_s=3.1, status=202, first_status=202),
        Posted(before, 1.0, accepted_s=1.1, status=202, first_status=202),
        Posted(dead, 2.0, status=503, first_status=503),
        Posted(refused, 3.0, status=0, first_status=0),
    ]
    found = apart(posted, 2.0, Verdict(lost=[f"{third}/sms"]))
    assert found == {
        "others": 3,
        "others_first_try": 2,
        "others_delivered": 2,
        "others_repeated": 0,
        "dead": 2,
        "dead_statuses": {"503": 1, "0": 1},
    }


# ---- control groups


V1 = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"
ACCOUNTS = "cgroup /sys/fs/cgroup/cpuacct cgroup rw,relatime,cpuacct 0 0\n"
V2 = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n"


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        (ACCOUNTS + V2 + V1, Controller(Path("/sys/fs/cgroup/cpu,cpuacct"), 1)),
        (ACCOUNTS + V2, Controller(Path("/sys/fs/cgroup/unified"), 2)),
        (ACCOUNTS, None),
        ("", None),
    ],
)
def test_the_first_version_is_taken_where_it_has_the_cpu(mounts: str, found: Controller | None) -> None:
    assert find_controller("proc /proc proc rw 0 0\n" + mounts) == found


@pytest.mark.parametrize(("version", "file"), [(1, "cpu.cfs_quota_us"), (2, "cpu.max")])
def test_a_group_gets_its_quota(tmp_path: Path, version: int, file: str) -> None:
    Controller(tmp_path, version).set(tmp_path, 1000, 25000)
    assert (tmp_path / file).read_text() == {1: "1000", 2: "1000 25000"}[version]
    assert version == 2 or (tmp_path / "cpu.cfs_period_us").read_text() == "25000"


@pytest.mark.parametrize(("share", "us"), [(0.04, (1000, 25_000)), (0.1, (1000, 10_000)), (0.5, (5000, 10_000))])
def test_a_period_is_as_short_as_the_kernel_allows(share: float, us: tuple[int, int]) -> None:
    assert quota(share) == us


def test_a_reading_counts_since_an_earlier_one() -> None:
    assert Reading(9.0, 1.5, 30, 20, 3.0).since(Reading(7.0, 1.0, 10, 5, 1.0)) == Reading(2.0, 0.5, 20, 15, 2.0)
