"""A new cell takes an even share of the keys, and everything that moved can be found again."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.cells.names import CELL_NAMES
from dispatcher.core.cells.owners import counting_cell, earlier_owners, owner

COUNTS = st.integers(1, len(CELL_NAMES))
KEYS = 16_000
"""How many keys are spread. The share of one of 16 cells is 1,000 keys, with a standard deviation of 31."""


@given(st.text(), st.text(), st.integers(1, len(CELL_NAMES) - 1))
def test_a_key_moves_only_to_the_new_cell(tenant: str, key: str, count: int) -> None:
    before, after = owner(tenant, key, count), owner(tenant, key, count + 1)
    assert before in CELL_NAMES[:count]
    assert after in (before, CELL_NAMES[count])


@given(st.text(), st.text(), COUNTS, COUNTS)
def test_every_earlier_owner_is_named_once(tenant: str, key: str, one: int, two: int) -> None:
    """The earlier owners and the owner are exactly the owners under every number of cells since the beginning."""
    first, count = sorted((one, two))
    earlier = earlier_owners(tenant, key, first, count)
    assert {*earlier, owner(tenant, key, count)} == {owner(tenant, key, n) for n in range(first, count + 1)}
    assert len({*earlier, owner(tenant, key, count)}) == len(earlier) + 1
    assert list(earlier) == sorted(earlier, reverse=True)


def test_the_keys_are_spread_evenly() -> None:
    for count in (2, 3, 16):
        found = Counter(owner("shop", f"order-{n}", count) for n in range(KEYS))
        share = KEYS / count
        assert set(found) == set(CELL_NAMES[:count])
        assert all(abs(keys - share) < 5 * share**0.5 for keys in found.values()), found


def test_the_owner_of_a_key_never_changes_between_versions() -> None:
    """The owners of these keys were computed by the first version that has cells."""
    assert "".join(owner("shop", f"order-{n}", 4) for n in range(12)) == "233023223312"


@given(st.text(), COUNTS)
def test_the_counting_cell_is_among_the_first(tenant: str, first: int) -> None:
    assert counting_cell(tenant, first) in CELL_NAMES[:first]


def test_tenants_are_counted_in_different_cells() -> None:
    assert {counting_cell(f"tenant-{n}", 4) for n in range(100)} == set(CELL_NAMES[:4])


def test_a_tenant_and_a_key_do_not_run_into_each_other() -> None:
    """The same text, divided in another way into tenant and key, is another key."""
    assert any(owner("shop", f"a{n}", 16) != owner("shopa", str(n), 16) for n in range(50))
