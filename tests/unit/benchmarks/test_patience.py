"""Patient callers wait as docs/api.md asks: a random wait up to a bound that doubles, and at least `Retry-After`."""

from __future__ import annotations

import random

import pytest

from benchmarks.patience import WAIT_S_MAX, Patience


@pytest.mark.parametrize(("tries", "longest_s"), [(1, 0.1), (2, 0.2), (4, 0.8), (6, 3.0), (1024, 3.0)])
def test_a_wait_is_drawn_evenly_up_to_a_doubling_bound(tries: int, longest_s: float) -> None:
    patience = Patience(random.Random(1))
    waits = [patience.wait_s(tries) for _ in range(2000)]
    assert 0.95 * longest_s < max(waits) <= longest_s <= WAIT_S_MAX
    assert min(waits) < 0.05 * longest_s
    assert sum(waits) / len(waits) == pytest.approx(longest_s / 2, rel=0.1)


def test_a_wait_is_never_shorter_than_retry_after() -> None:
    patience = Patience(random.Random(1))
    assert {patience.wait_s(1, 1.0) for _ in range(50)} == {1.0}
    assert min(patience.wait_s(9, 1.0) for _ in range(500)) == 1.0
