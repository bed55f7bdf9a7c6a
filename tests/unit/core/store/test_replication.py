"""Checks how many replicas an accept waits for, which settings promise nothing, and which warnings an operator
gets.
"""

from __future__ import annotations

import pytest

from dispatcher.core.store.replication import ReplicaRule, Seen, Standing


@pytest.mark.parametrize(
    ("rule", "seen", "needed"),
    [
        (ReplicaRule(), Seen(2, 2), 2),
        (ReplicaRule(), Seen(2, 0), 2),
        (ReplicaRule(away_max=1), Seen(2, 2), 2),
        (ReplicaRule(away_max=1), Seen(2, 1), 1),
        (ReplicaRule(away_max=1), Seen(2, 0), 1),
        (ReplicaRule(away_max=1), Seen(3, 1), 2),
        (ReplicaRule(2), None, 2),
        (ReplicaRule(3, 1), None, 2),
        (ReplicaRule(1), Seen(3, 3), 1),
        (ReplicaRule(), None, 1),
    ],
)
def test_those_in_step_are_waited_for_and_never_fewer_than_allowed(
    rule: ReplicaRule, seen: Seen | None, needed: int
) -> None:
    """An accept waits for all replicas that are in step with the primary. Fewer than the setting allows are never
    enough.

    So any replica that may be promoted has the write.
    """
    assert rule.needed(seen) == needed


@pytest.mark.parametrize(
    ("rule", "seen", "words"),
    [
        (ReplicaRule(), None, "must say how many replicas"),
        (ReplicaRule(), Seen(0, 0), "there is none"),
        (ReplicaRule(away_max=2), Seen(2, 2), "must be less than the number of replicas, 2"),
        (ReplicaRule(1, 1), None, "must be less than the number of replicas, 1"),
        (ReplicaRule(), Seen(1, 1), None),
        (ReplicaRule(2, 1), None, None),
    ],
)
def test_a_set_up_without_a_promise_is_refused(rule: ReplicaRule, seen: Seen | None, words: str | None) -> None:
    """A rule for replicas that would keep nothing safe is refused, in a sentence that names the setting."""
    found = rule.refusal(seen)
    assert found is None if words is None else found is not None and found.startswith("store.") and words in found


def test_what_is_less_than_all_is_told() -> None:
    """There is a warning if too few replicas, or not all known replicas, have the last write.

    If all have the last write, there is no warning.
    """
    assert Standing(2, 2, 2, False).warnings() == []
    assert "1 of 2 replicas have the last write on disk" in Standing(2, 2, 1, True).warnings()[0]
    assert Standing(0, 1, 0, True, "none").warnings() == ["durability replica: nothing is accepted: none"]
    assert "is on 1 of 2 replicas" in Standing(2, 1, 1, False).warnings()[0]
