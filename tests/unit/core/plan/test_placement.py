"""Checks which replica is told to leave its machine, and how often a pool is asked to move."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.plan.placement import PAUSE_S, Moves, Placed, leavers

CHAINS = (("a", "b"), ("c",))
TWO = {"n1", "n2"}


def placed(*places: str, age_s: float = 60.0) -> list[Placed]:
    """Return replicas for places written as `pool@node`. Each replica is a second younger than the one before it."""
    split = [place.split("@") for place in places]
    return [Placed(f"{pool}{i}", pool, node, age_s - i) for i, (pool, node) in enumerate(split)]


@pytest.mark.parametrize(
    ("places", "nodes", "leaver"),
    [
        (("intake@n1", "intake@n1"), TWO, "intake1"),
        (("intake@n1", "intake@n1"), {"n1"}, None),
        (("intake@n1", "intake@n2"), TWO, None),
        (("intake@n1", "intake@n1", "intake@n2"), TWO, None),  # three cannot be spread better over two machines
        (("intake@n1", "intake@n1", "intake@n2"), {*TWO, "n3"}, "intake1"),
        (("supervisor@n2", "supervisor@n2"), TWO, "supervisor1"),
        (("a@n1", "b@n1"), TWO, "b1"),  # the fallback leaves, and the first vendor stays
        (("a@n1", "b@n1"), {"n1"}, None),
        (("a@n1", "b@n2"), TWO, None),
        (("a@n1", "a@n2", "b@n1"), TWO, None),
        (("a@n1", "c@n1"), TWO, None),  # the two are in different chains
        (("a@n1",), TWO, None),
    ],
)
def test_who_breaks_a_rule_leaves(places: tuple[str, ...], nodes: set[str], leaver: str | None) -> None:
    """A replica has to leave if it shares a machine with its own pool while another machine has no replica of the
    pool. A replica also has to leave if all actors of a chain are on one machine and there is another.
    """
    found = next(leavers(placed(*places), nodes, CHAINS), None)
    assert (found and found.replica) == leaver


def test_a_young_pool_is_left_alone() -> None:
    """Two replicas share a machine, and their pool has just started. No replica has to leave yet, because the pool may
    be in the middle of a replacement.
    """
    assert list(leavers(placed("intake@n1", "intake@n1", age_s=2.0), TWO, CHAINS)) == []
    assert list(leavers(placed("a@n1", "b@n1", age_s=2.0), TWO, CHAINS)) == []


PLACES = st.lists(
    st.builds("{}@{}".format, st.sampled_from(["intake", "a", "b", "c"]), st.sampled_from(["n1", "n2", "n3"])),
    max_size=8,
)


@given(PLACES, st.sets(st.sampled_from(["n1", "n2", "n3"]), min_size=1))
def test_moving_ends(places: list[str], nodes: set[str]) -> None:
    """If each leaving replica goes to the emptiest machine, no replica has to leave any more within 20 moves."""
    there = placed(*[place for place in places if place.split("@")[1] in nodes])
    for turn in range(20):
        leaver = next(leavers(there, nodes, CHAINS), None)
        if leaver is None:
            return
        there.remove(leaver)
        own = [one.node for one in there if one.pool == leaver.pool]
        chain = [one.node for one in there if one.pool in ("a", "b")]
        emptiest = min(sorted(nodes), key=lambda node: (own.count(node), chain.count(node)))
        there.append(Placed(f"{leaver.replica}{turn}", leaver.pool, emptiest, 30.0))
    raise AssertionError(f"still moving: {there}")


def test_one_leaves_at_a_time_and_each_try_waits_longer() -> None:
    """At most one replica leaves at a time.

    If the replica comes back to the same machine each time, each further try waits twice as long.
    """
    moves, now_s, asked = Moves(), 0.0, []
    replicas = 0
    while now_s < 200.0:
        there = placed("intake@n1", f"intake{replicas}@n1")
        there = [there[0], Placed(f"young{replicas}", "intake", "n1", 30.0)]
        leaving = moves.look(there, TWO, CHAINS, now_s)
        assert len(leaving) <= 1
        if leaving:
            asked.append(now_s)
            replicas += 1  # Serve starts another, on the same machine
        now_s += 0.25
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert gaps == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S, 8 * PAUSE_S][: len(gaps)] and len(gaps) >= 3


def test_a_machine_on_which_nothing_starts_costs_less_and_less() -> None:
    """No replica can start on the other machine. Serve tries it for half a minute, and then starts the replica where it
    was. Meanwhile no rule is broken, and yet each further try waits longer.

    When the pool has been spread for two minutes, the next wait is the first one again.
    """
    moves, asked = Moves(), list[float]()
    gone_s, known_s, spread_s = math.inf, -math.inf, 1500.0
    now_s = 0.0
    while now_s < 2000.0:
        there = placed("a@n1")
        if now_s >= gone_s + 30.0:  # Serve has started another one
            gone_s, known_s = math.inf, now_s
        if gone_s == math.inf:
            node = "n2" if spread_s <= now_s < spread_s + 200.0 else "n1"
            there.append(Placed(f"b{len(asked)}", "b", node, now_s - known_s))
        if (leaving := moves.look(there, TWO, CHAINS, now_s)) and gone_s == math.inf:
            asked.append(now_s)
            assert leaving == (there[-1].replica,)
            gone_s = now_s
        now_s += 0.5
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked) if later < spread_s]
    assert gaps == sorted(gaps) and gaps[-1] > 300.0, gaps
    after = [at_s for at_s in asked if at_s >= spread_s + 200.0]
    assert after[1] - after[0] < 60.0, after


def test_a_replica_is_asked_until_it_is_gone() -> None:
    """A plan tells a replica to leave. Each later plan repeats this as long as the replica is heard, so that a lost
    publication does not stop the move.
    """
    moves = Moves()
    there = placed("intake@n1", "intake@n1")
    assert moves.look(there, TWO, CHAINS, 0.0) == ("intake1",)
    assert moves.look(there, TWO, CHAINS, 5.0) == ("intake1",)
    assert moves.look(there[:1], TWO, CHAINS, 6.0) == ()


def test_a_pool_that_finds_no_room_holds_up_no_other() -> None:
    """A replica of one pool was told to leave and found no room on another machine. The pool now waits long for its
    next try.

    Meanwhile a replica of another pool can be told to leave at once.
    """
    moves, now_s, tries = Moves(), 0.0, 0
    while now_s < 100.0:  # intake comes back to its machine each time
        there = [*placed("intake@n1"), Placed(f"late{tries}", "intake", "n1", 30.0)]
        tries += bool(moves.look(there, TWO, CHAINS, now_s))
        now_s += 0.25
    there = [*there, *placed("a@n1", "b@n1")]
    assert moves.look(there, TWO, CHAINS, now_s) == ("b1",)
