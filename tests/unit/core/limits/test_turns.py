"""Checks the turns of tenants in a lane: no tenant starves, shares follow the weights, and a claim gets all that
it can.
"""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.limits.turns import Turn, serve

TENANTS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True)
WEIGHTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 7))
WANTS = st.lists(st.integers(0, 9), min_size=1, max_size=60)
MUCH = 10_000


def ring(tenants: list[str]) -> tuple[Turn, ...]:
    return tuple(Turn(tenant) for tenant in tenants)


def flat(served: list[tuple[str, int]]) -> str:
    """Return served notifications as a string with one letter, the tenant's name, for each notification in order."""
    return "".join(tenant * count for tenant, count in served)


def claims(tenants: list[str], weights: dict[str, int], wants: list[int]) -> str:
    """Make claims of these sizes while every tenant has a large backlog.

    Return one letter, the tenant's name, for each notification that the claims got.
    """
    turns, found = ring(tenants), ""
    for want in wants:
        served, turns = serve(turns, dict.fromkeys(tenants, MUCH), weights, want)
        found += flat(served)
    return found


def test_tenants_alternate_whoever_came_with_more() -> None:
    served, turns = serve(ring(["loud", "quiet"]), {"loud": 1_000_000, "quiet": 2}, {}, 6)
    assert served == [("loud", 1), ("quiet", 1), ("loud", 1), ("quiet", 1), ("loud", 1), ("loud", 1)]
    assert turns == (Turn("loud"),)


def test_an_interrupted_turn_goes_on_with_the_next_claim() -> None:
    served, turns = serve(ring(["a", "b"]), {"a": 9, "b": 9}, {"a": 3}, 2)
    assert (served, turns) == ([("a", 2)], (Turn("a", 1), Turn("b")))
    assert serve(turns, {"a": 7, "b": 9}, {"a": 3}, 2)[0] == [("a", 1), ("b", 1)]


def test_who_has_no_more_loses_what_is_left_of_the_turn() -> None:
    assert serve(ring(["a", "b"]), {"a": 2, "b": 9}, {"a": 5}, 3) == ([("a", 2), ("b", 1)], (Turn("b"),))


def test_a_weight_that_became_smaller_ends_no_turn_early_but_the_next() -> None:
    _, turns = serve(ring(["a", "b"]), {"a": 9, "b": 9}, {"a": 3}, 1)
    assert flat(serve(turns, {"a": 8, "b": 9}, {}, 5)[0]) == "aabab"


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 20)), WEIGHTS, st.integers(0, 200))
def test_nothing_rests_while_anything_waits(queued: dict[str, int], weights: dict[str, int], want: int) -> None:
    """A claim gets as many notifications as it asks for, or all that wait if there are fewer.

    Each tenant that still has notifications waiting has exactly one place in the ring.
    """
    served, turns = serve(ring(list(queued)), queued, weights, want)
    got = flat(served)
    assert len(got) == min(want, sum(queued.values()))
    assert all(got.count(tenant) <= count for tenant, count in queued.items())
    waits = {tenant for tenant, count in queued.items() if count > got.count(tenant)}
    assert waits <= {turn.tenant for turn in turns}
    assert len(turns) == len({turn.tenant for turn in turns})


@given(TENANTS, WEIGHTS, WANTS)
def test_shares_follow_the_weights_within_one_turn_over_any_stretch(
    tenants: list[str], weights: dict[str, int], wants: list[int]
) -> None:
    """In any stretch of time, the numbers of notifications that two tenants get, each divided by the tenant's
    weight, differ by at most one.
    """
    got = claims(tenants, weights, wants)
    for one, other in combinations(tenants, 2):
        mine, theirs = weights.get(one, 1), weights.get(other, 1)
        ahead, least, most = 0, 0, 0
        for letter in got:
            ahead += theirs * (letter == one) - mine * (letter == other)
            least, most = min(least, ahead), max(most, ahead)
        assert most - least <= mine * theirs


@given(TENANTS, WEIGHTS, WANTS)
def test_nobody_starves(tenants: list[str], weights: dict[str, int], wants: list[int]) -> None:
    """Between two notifications of one tenant, each other tenant gets at most one turn (its weight in
    notifications).
    """
    got = claims(tenants, weights, wants)
    for tenant in tenants:
        others = sum(weights.get(other, 1) for other in tenants if other != tenant)
        assert all(len(gap) <= others for gap in got.split(tenant))


@given(TENANTS, WEIGHTS, WANTS)
def test_the_sizes_of_claims_do_not_matter(tenants: list[str], weights: dict[str, int], wants: list[int]) -> None:
    """Many small claims give the same order as one large claim."""
    assert claims(tenants, weights, wants) == claims(tenants, weights, [sum(wants)])
