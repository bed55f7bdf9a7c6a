"""Tables show what is lost, repeated and refused when a version or a Redis server is replaced."""

from __future__ import annotations

from benchmarks import replica_loss, rolling_upgrade
from benchmarks.rolling_upgrade import Stretch, apart, stretches
from cluster.rehearsal.load import Posted


def upgrade(told: bool | None, first: float, gap_s: float, **counts: int) -> dict[str, object]:
    named = {"lost": 0, "repeated": 0, "held": 0, "never_accepted": 0, **counts}
    kind = {"callers": "balanced"} if told is None else {"told": told}
    return {**kind, "before": "abc", "first_try_percent": first, "delivery_gap_s": gap_s, **named}


def test_an_upgrade_shows_the_median_and_the_worst_run() -> None:
    """A row shows the median and the worst of its runs. Losses are added up, so that no median hides a loss."""
    runs = [upgrade(False, 99.9, 0.5), upgrade(False, 98.0, 3.0, lost=1), upgrade(False, 100.0, 0.4)]
    (_, _, row) = rolling_upgrade.table({"runs": [*runs]}).splitlines()
    assert row == "| callers find out | abc | 3 | **99.9 % (98 %): MISSED** | 0 | 0.5 s (3 s) | **1: MISSED** | 0 | 0 |"
    kinds = rolling_upgrade.table({"runs": [upgrade(None, 100.0, 0.1), upgrade(True, 100.0, 0.1)]}).splitlines()[2:]
    assert [row.split(" | ")[0] for row in kinds] == [
        "| a balancer asks /readyz",
        "| callers are moved before each stop",
    ]


def test_a_stretch_has_what_was_due_in_it() -> None:
    """A run is divided into stretches of time. A trigger belongs to the stretch in which it was due, even if its answer
    came later.
    """
    posted = [Posted(f"N{n}", float(n), first_status=202 if n != 5 else 503) for n in range(8)]
    found = stretches(posted, [Stretch("one", 0.0), Stretch("two", 4.0, changing=1)], [0] * 5 + [1] * 3)
    assert [(one["name"], one["triggers"], one["failed_first"]) for one in found] == [("one", 4, 0), ("two", 4, 1)]
    assert found[1]["statuses"] == {"503": 1}
    assert apart(found) == {"failed_at_changing": 1, "failed_elsewhere": 0}
    found = stretches(posted, [Stretch("one", 0.0, changing=0)], [1] * 8)
    assert apart(found) == {"failed_at_changing": 0, "failed_elsewhere": 1}


def test_a_loss_of_the_primary_shows_both_numbers_of_replicas_and_the_price() -> None:
    """The table has a row for one replica and a row for two replicas.

    Each pair has its own latency ratio. The table shows the median of these ratios, not the ratio of the medians.
    """
    losses = [
        {"replicas": 1, "acknowledged": 500, "lost": 0, "repeated": 0, "refusing_s": 2.5, "promoted_s": 1.0},
        {"replicas": 2, "acknowledged": 600, "lost": 0, "repeated": 2, "refusing_s": 15.5, "promoted_s": 1.5},
    ]
    pairs = [
        {"replicas": 2, "primary": {"p50_ms": p, "p99_ms": 2 * p}, "replica": {"p50_ms": r, "p99_ms": 3 * r}}
        for p, r in ((2.0, 4.0), (10.0, 10.0), (1.0, 5.0))
    ]
    text = replica_loss.table({"losses": losses, "pairs": pairs})
    assert "| 1 replica, replaced at the promotion | 1 | 500 | 0 | 0 | 2.5 s (2.5 s) | 1 s (1 s) |" in text
    assert (
        "| 2 replicas, 1 may be away | 1 | 600 | 0 | **2: MISSED** | **15.5 s (15.5 s): MISSED** | 1.5 s (1.5 s) |"
        in text
    )
    assert "| 2 replicas | 3 | 2 ms (10 ms) | 5 ms (10 ms) | 2 (5) |" in text


def test_the_longest_refusal_is_between_two_accepts() -> None:
    """The time without accepts is measured from one accept to the next.

    A trigger that was never accepted does not end it.
    """
    posted = [Posted("a", 0.0, accepted_s=1.0), Posted("b", 2.0), Posted("c", 3.0, accepted_s=4.5)]
    assert replica_loss.refusing_s(posted) == 3.5
