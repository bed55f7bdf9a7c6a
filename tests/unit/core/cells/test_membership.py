"""A start with cells that do not belong together is refused in one sentence that names the cell."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from dispatcher.core.cells.membership import ALONE, Membership, check_members, check_servers, joins
from dispatcher.errors import ConfigError


def member(cell: str, count: int = 2, installation: str = "one") -> Membership:
    return Membership(installation, cell, count, {2: 0} if count == 2 else {2: 0, count: 5})


def test_a_first_start_knows_nothing() -> None:
    assert check_members([{}, {}, None]) is None


def test_the_highest_number_in_force_counts() -> None:
    assert check_members([{"0": member("0")}, None, {"2": member("2", 3)}]) == member("2", 3)


@pytest.mark.parametrize(
    ("servers", "sentence"),
    [
        (
            [{"0": member("0", 3)}, {"1": member("1")}],
            "store.cells.1: cell 2 is missing: 3 cells are in force, and 2 are configured",
        ),
        ([{"0": member("0")}], "store.cells.0: cell 1 is missing: 2 cells are in force, and 1 are configured"),
        ([{"1": member("1")}, {}], "--redis-url: this is the Redis of cell 1, and it cannot be cell 0"),
        (
            [{"0": member("0")}, {"2": member("2")}, {"1": member("1")}],
            "store.cells.0: this is the Redis of cell 2, and it cannot be cell 1",
        ),
        (
            [{"0": member("0")}, {"0": member("0"), "1": member("1")}],
            "store.cells.0: this is the Redis of cell 0, and it cannot be cell 1",
        ),
        (
            [{"0": member("0")}, {"1": member("1", installation="two")}],
            "store.cells.0: this Redis belongs to another installation than that of cell 0",
        ),
    ],
)
def test_a_wrong_cell_is_named(servers: list[Mapping[str, Membership] | None], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_members(servers)
    assert str(refused.value) == sentence


def test_two_cells_with_one_server_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^store.cells.1: cell 2 has the same Redis server as cell 0$"):
        check_servers(["s", "t", "s"])
    check_servers(["s", None, None, "t"])


def test_a_new_cell_knows_the_number_in_force_and_the_beginning() -> None:
    assert joins(member("0", 3), "3") == Membership("one", "3", 3, {2: 0})
    assert joins(member("0", 3), "3").first == 2


def test_a_single_cell_begins_with_one() -> None:
    assert (ALONE.first, ALONE.count) == (1, 1)
