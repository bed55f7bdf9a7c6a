"""How the tests find and start a Redis server of their own."""

from __future__ import annotations

from cluster.local import redis_binary
from dispatcher.errors import ConfigError

SERVER_OPTIONS = {
    "port": "0",
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",
    "hash-max-ziplist-value": "4096",
}
ANSWER_S = 20.0
"""An answer that is later than this is a fault also on a busy machine. Tests of time-outs have their own."""

START_S_MAX = 10.0


def redis_path() -> str | None:
    """Return the server that `up` would start here; None where there is none."""
    try:
        return redis_binary.binary().path
    except ConfigError:
        return None
