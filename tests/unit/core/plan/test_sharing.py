"""Checks how a contract rate is divided among actors that may hear of a new plan late, stay silent or die.

The sum of the shares in use is never above the rate.
"""

from __future__ import annotations

import random

import pytest

from dispatcher.core.plan.sharing import Share, divide

RATE = 60.0


def shares(**per_s: float) -> dict[str, Share]:
    return {name: Share(value, value) for name, value in per_s.items()}


def test_one_actor_has_it_all() -> None:
    """A single actor gets the whole rate. Without any actor there are no shares."""
    assert divide(RATE, ["a"], {}, []) == shares(a=60.0)
    assert divide(RATE, [], shares(a=60.0), ["a"]) == {}


def test_a_new_actor_waits_until_the_others_have_shrunk() -> None:
    """A new actor has started, so the contract rate is divided again. The old actor gets a smaller share at once.

    The new actor gets a share only after the old actor has confirmed that it uses the smaller share.
    """
    first = divide(RATE, ["a", "b"], shares(a=60.0), [])
    assert first == {"a": Share(30.0, 60.0), "b": Share(0.0, 0.0)}
    assert divide(RATE, ["a", "b"], first, ["b"]) == first
    assert divide(RATE, ["a", "b"], first, ["a"]) == shares(a=30.0, b=30.0)


def test_the_share_of_the_dead_is_free_at_once() -> None:
    """The share of a dead actor is given to the others in the next plan. This is safe, because an actor counts as dead
    only when the store refuses its claims.
    """
    assert divide(RATE, ["b"], shares(a=30.0, b=30.0), []) == shares(b=60.0)


def test_who_was_to_shrink_and_may_not_have_grows_back_for_nothing() -> None:
    """An actor was told to use a smaller share, and has not confirmed it. It may get its old share back without
    a wait.
    """
    assert divide(RATE, ["a"], {"a": Share(30.0, 60.0)}, []) == shares(a=60.0)


def test_a_lower_contract_takes_effect_before_anybody_confirms() -> None:
    """The contract rate is lowered. All shares become smaller at once.

    An actor may use its old share until it has confirmed the new plan. Until then no share grows.
    """
    lower = divide(20.0, ["a", "b"], shares(a=30.0, b=30.0), [])
    assert lower == {"a": Share(10.0, 30.0), "b": Share(10.0, 30.0)}
    assert divide(20.0, ["a", "b"], lower, ["a", "b"]) == shares(a=10.0, b=10.0)


STEPS = ("join", "plan", "plan", "hear", "hear", "report", "report", "die", "restart")


@pytest.mark.parametrize("block", range(4))
def test_the_sum_in_use_is_never_above_the_rate(block: int) -> None:
    """In random histories, actors adopt new plans late or never report.

    The sum of the rates in use is never above the contract rate.
    """
    for seed in range(100 * block, 100 * (block + 1)):
        dice = random.Random(seed)
        steps = [(dice.choice(STEPS), dice.randrange(6)) for _ in range(60)]
        play(steps, rate=dice.choice([0.5, 7.0, 60.0, 5000.0]))


def play(steps: list[tuple[str, int]], rate: float) -> None:
    """Let actors start, die, hear plans and report, as `steps` say. After each step, check that the shares in use add
    up to at most the rate.

    Then let all actors use the last plan and report, and check that each has an equal share.
    """
    plans: list[dict[str, Share]] = [{}]
    works_by: dict[str, int] = {}
    reported: dict[str, int] = {}
    born = 0

    def plan() -> None:
        confirmed = [name for name, epoch in reported.items() if epoch >= len(plans) - 1]
        members = sorted(set(reported) | {name for name in plans[-1] if name in works_by})
        plans.append(divide(rate, members, plans[-1], confirmed))

    def in_use(name: str) -> float:
        share = plans[works_by[name]].get(name)
        return 0.0 if share is None else share.per_s

    for what, pick in steps:
        names = sorted(works_by)
        chosen = names[pick % len(names)] if names else ""
        if what == "join":
            born += 1
            works_by[f"v/{born:03}"] = len(plans) - 1
        elif what == "plan":
            plan()
        elif what == "restart":
            reported.clear()
        elif chosen and what == "hear":
            works_by[chosen] = min(len(plans) - 1, works_by[chosen] + 1 + pick)
        elif chosen and what == "report":
            reported[chosen] = works_by[chosen]
        elif chosen and what == "die":
            del works_by[chosen]
            reported.pop(chosen, None)
        assert sum(map(in_use, works_by)) <= rate * (1 + 1e-9)

    for _ in range(3):
        for name in works_by:
            works_by[name] = reported[name] = len(plans) - 1
        plan()
    for name in works_by:
        assert plans[-1][name].per_s == pytest.approx(rate / len(works_by), rel=1e-5)
