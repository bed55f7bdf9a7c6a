"""Finds and starts a Redis server for the tests."""

from __future__ import annotations

import socket
from pathlib import Path

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
"""The most seconds for an answer. A later answer is a fault, even on a busy machine.

Tests of time-outs use limits of their own.
"""

START_S_MAX = 30.0


def redis_path() -> str | None:
    """Return the path of the server that `up` would start here, or None if there is none."""
    try:
        return redis_binary.binary().path
    except ConfigError:
        return None


def is_answering(path: Path) -> bool:
    """Return True if a server accepts connections at the Unix socket `path`."""
    with socket.socket(socket.AF_UNIX) as tried:
        try:
            tried.connect(str(path))
        except OSError:
            return False
        return True
