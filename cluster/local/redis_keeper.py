"""Starts the private Redis again when it has died."""

from __future__ import annotations

from cluster.local.foreground import say
from cluster.local.redis_server import RedisServer
from dispatcher.errors import ConfigError

WAIT_S_MAX = 30.0
"""The longest wait between two tries to start Redis, in seconds."""


class RedisKeeper:
    """Keeps the private Redis running: each call of `mend` starts it again if it has ended."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self._again_s, self._wait_s = 0.0, 1.0

    def mend(self, now_s: float) -> None:
        """Start Redis if it is dead. If Redis does not start (disk full, file damaged), try again after 1, 2, 4 … 30 s.

        There is no last try. To give up would end Ray and every actor, although the actors can wait for Redis and then
        continue.
        """
        if now_s < self._again_s or self.server.alive():
            return
        try:
            say(f"redis died; started again, pid {self.server.start()}")
            self._wait_s = 1.0
        except (ConfigError, OSError) as error:
            say(f"redis died and does not start: {error}; again in {self._wait_s:g} s")
            self._again_s = now_s + self._wait_s
            self._wait_s = min(WAIT_S_MAX, 2 * self._wait_s)
