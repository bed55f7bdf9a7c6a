"""Refuse a Redis that can lose what we acknowledged."""

from __future__ import annotations

import redis

from dispatcher.errors import ConfigError

NEEDED = {
    "appendonly": ("yes", "without it a restart loses everything"),
    "appendfsync": ("always", "everysec acknowledges what a power cut loses"),
    "no-appendfsync-on-rewrite": ("no", "yes turns always into never during rewrites"),
    "maxmemory-policy": ("noeviction", "any other deletes queued work when memory is short"),
}


def faults(client: redis.Redis) -> list[str]:
    """What is unsafe, each with the setting, its value, the value needed and why."""
    found = []
    version = str(client.info("server")["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < (6, 2):
        found.append(f"version is {version}, needed is 6.2 or newer")
    try:
        settings = client.config_get("*")
    except redis.ResponseError as error:  # hosted ones often forbid CONFIG
        return [*found, f"settings cannot be read ({error}), needed is CONFIG GET: else nobody knows"]
    for name, (needed, why) in NEEDED.items():
        value = settings.get(name)
        if value != needed:
            found.append(f"{name} is {value}, needed is {needed}: {why}")
    if settings.get("maxmemory") in (None, "0"):
        found.append("maxmemory is 0 (no limit), needed is a limit: head-room cannot be kept without one")
    return found


def check(client: redis.Redis, unsafe: bool) -> list[str]:
    """Raises ConfigError when unsafe or not there; with the override, the unsafe as warnings."""
    try:
        found = faults(client)
    except (redis.RedisError, OSError) as error:
        raise ConfigError(f"no Redis answers: {error}") from None
    if found and not unsafe:
        raise ConfigError("this Redis can lose accepted notifications (--unsafe-redis overrides): " + "; ".join(found))
    return found
