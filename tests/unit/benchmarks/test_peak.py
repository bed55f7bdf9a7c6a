"""The figures of a peak count refusals, late deliveries, and the first seconds after the peak apart from the rest."""

from __future__ import annotations

import pytest

from benchmarks.peak import figures
from cluster.rehearsal.load import REFUSED_MS, Posted
from cluster.rehearsal.verdict import Verdict


def posted(first: int, count: int, wait_s: float) -> list[Posted]:
    """Return `count` triggers, one a second, the first due at second `first`. Each was accepted after `wait_s`."""
    return [Posted(f"N{n:06d}", float(n), accepted_s=n + wait_s, first_status=202) for n in range(first, first + count)]


def test_the_time_after_a_peak_begins_with_its_fifth_second() -> None:
    peak, after = posted(0, 11, 0.02), posted(11, 5, 4.0) + posted(16, 5, 0.01)
    found = figures(peak, after, Verdict())
    assert found["peak_p99_ms"] == pytest.approx(20.0)
    assert found["after_first_5_s_p99_ms"] == pytest.approx(4000.0)
    assert found["after_p99_ms"] == pytest.approx(10.0)


def test_a_refusal_counts_as_a_wait_and_against_the_first_try() -> None:
    peak = posted(0, 10, 0.02)
    peak[3].accepted_s, peak[3].first_status = None, 503
    found = figures(peak, posted(10, 10, 0.01), Verdict())
    assert found["peak_p99_ms"] == REFUSED_MS
    assert (found["peak_first_try"], found["after_first_try"]) == (0.9, 1.0)


def test_what_the_machine_carries_is_what_was_delivered_within_the_peak() -> None:
    """Only deliveries before the last due time of the peak count as carried. The last one says how late it was."""
    peak, after = posted(0, 11, 0.02), posted(11, 10, 0.01)
    delivered = {f"N{n:06d}/{channel}": n + 0.1 for n in range(5) for channel in ("sms", "email")}
    late = {"N000010/sms": 13.5, "N000015/sms": 99.0}
    found = figures(peak, after, Verdict(delivered_at={**delivered, **late}))
    assert found["delivered_per_s"] == pytest.approx(0.5)
    assert found["peak_late_s"] == pytest.approx(3.5)
