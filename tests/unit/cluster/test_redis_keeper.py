"""A Redis that has died is started again."""

from __future__ import annotations

import pytest

from cluster.local.redis_keeper import RedisKeeper
from dispatcher.errors import ConfigError


class Redis:
    """Stands in for a dead server. Its start succeeds at try number `starts_at`."""

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


def test_a_redis_that_cannot_start_is_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    """The waits between tries to start Redis double from 1 s up to 30 s, and the output says so."""
    dead = Redis(9)
    keeper = RedisKeeper(dead)  # type: ignore[arg-type]
    tried_s = []
    for now_s in range(1000, 1200):
        before = dead.tries
        keeper.mend(now_s)
        if dead.tries > before:
            tried_s.append(now_s - 1000)
    assert tried_s == [0, 1, 3, 7, 15, 31, 61, 91, 121]
    said = capsys.readouterr().err
    assert "redis died and does not start: redis-server ended at once; again in 30 s" in said
    assert said.endswith("redis died; started again, pid 7\n")
