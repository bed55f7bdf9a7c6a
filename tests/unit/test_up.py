"""`dispatcher up`, without starting anything: what it does when a part of it dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.up import Options, Up
from dispatcher.errors import ConfigError


class Redis:
    """A server that is dead and starts at the n-th try."""

    def __init__(self, starts_at: int) -> None:
        self._starts_at = starts_at
        self.tries = 0

    def alive(self) -> bool:
        return self.tries >= self._starts_at

    def start(self) -> int:
        self.tries += 1
        if not self.alive():
            raise ConfigError("redis-server ended at once")
        return 7


def test_a_redis_that_cannot_start_is_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After 1, 2, 4 … at most 30 seconds; everything else waits for it and is left alone."""
    up, dead = Up(Options(tmp_path)), Redis(9)
    up._redis = dead  # type: ignore[assignment]
    tried_s = []
    for now_s in range(1000, 1200):
        before = dead.tries
        up._mend_redis(now_s)
        if dead.tries > before:
            tried_s.append(now_s - 1000)
    assert tried_s == [0, 1, 3, 7, 15, 31, 61, 91, 121]
    said = capsys.readouterr().err
    assert "redis died and does not start: redis-server ended at once; again in 30 s" in said
    assert said.endswith("redis died; started again, pid 7\n")
