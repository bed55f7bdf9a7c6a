"""Refuse a Redis that can lose what we acknowledged."""

from __future__ import annotations

import uuid
from urllib.parse import unquote, urlsplit

import redis

from dispatcher.adapters.redis.keys import Keys
from dispatcher.config.secret_references import resolve
from dispatcher.errors import ConfigError

SCHEMES = ("redis", "rediss", "unix")

NEEDED = {
    "appendonly": ("yes", "without it a restart loses everything"),
    "appendfsync": ("always", "everysec acknowledges what a power cut loses"),
    "no-appendfsync-on-rewrite": ("no", "yes turns always into never during rewrites"),
    "maxmemory-policy": ("noeviction", "any other deletes queued work when memory is short"),
}


PROBE = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)
local found = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return found
"""
"""KEYS[1] is a key of ours that nothing else uses. Answers ARGV[1]; leaves nothing behind."""


def connect(url: str) -> redis.Redis:
    """A client for `--redis-url`, which may be a reference. Raises ConfigError that shows no part of the URL.

    Nothing of it can be shown safely: with a `#` in the password, what looks like the port is a piece of the password.
    """
    try:
        resolved = resolve(url)
    except ConfigError as error:
        raise ConfigError(f"--redis-url: {error}") from None
    fault = _url_fault(resolved)
    if fault is not None:
        raise ConfigError(f"--redis-url: {fault}")
    try:
        return redis.Redis.from_url(resolved, decode_responses=True)
    except (ValueError, TypeError):
        raise ConfigError("--redis-url: cannot be read; the form is redis://USER:PASSWORD@HOST:PORT/DB") from None


def _url_fault(url: str) -> str | None:
    encode = "characters like # / ? @ [ in a user or password must be percent-encoded, as %23"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"cannot be read: {encode}"
    if parts.scheme not in SCHEMES or not url.startswith(f"{parts.scheme}://"):
        return "must begin with redis://, rediss:// or unix://, for example redis://localhost:6379"
    if "#" in url or parts.netloc.count("@") > 1:
        return f"cannot be read: {encode}"
    if parts.scheme == "unix":
        return None if len(parts.path) > 1 else "must name a socket, as in unix:///run/redis.sock"
    if not parts.hostname or port == 0:
        return "must have a host, and a port from 1 to 65535"
    database = unquote(parts.path).strip("/")
    return None if not database or database.isdigit() else f"must end in a port or the number of a database: {encode}"


def faults(client: redis.Redis) -> list[str]:
    """Return everything that is unsafe, each with the setting, its value, the value needed and why."""
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


def refusal(client: redis.Redis) -> str | None:
    """Write as the service will, with a script on a key of ours; the sentence that says why that is impossible."""
    word = uuid.uuid4().hex
    try:
        if client.eval(PROBE, 1, f"{Keys().prefix}probe:{word}", word) != word:
            return "this Redis does not read back what a script has written"
    except (redis.exceptions.ReadOnlyError, redis.exceptions.ResponseError) as error:
        text = " ".join(str(error).split())
        if "OOM" in text or isinstance(error, redis.exceptions.OutOfMemoryError):
            return None  # a full one still lets draining work, which is how it gets room again
        if isinstance(error, redis.exceptions.ReadOnlyError) or "READONLY" in text or "read only" in text:
            return "this Redis is a read-only replica: give the address of its primary"
        if any(word in text for word in ("MOVED", "ASK ", "CLUSTERDOWN", "cluster")):
            return "this Redis is a node of a Redis Cluster, which is not supported: give a single server"
        return f"this Redis refuses a script that writes to a key of ours, {Keys().prefix}*: {text}"
    return None


def _is_cluster(client: redis.Redis) -> bool:
    """Return True for a node of a Redis Cluster: its slots can move away from a client that knows one node only."""
    return int(client.info("cluster").get("cluster_enabled", 0)) == 1


def check(client: redis.Redis, unsafe: bool) -> list[str]:
    """Return warnings. Raises ConfigError if Redis is away, or is unsafe and `unsafe` does not allow it.

    A Redis that cannot do the work at all (a node of a cluster, a read-only replica, a user without EVAL) is refused
    whatever the override says.
    """
    try:
        if _is_cluster(client):
            raise ConfigError("this Redis is a node of a Redis Cluster, which is not supported: give a single server")
        refused = refusal(client)
        if refused is not None:
            raise ConfigError(refused)
        found = faults(client)
    except (redis.RedisError, OSError) as error:
        raise ConfigError(f"no Redis answers: {error}") from None
    if found and not unsafe:
        raise ConfigError("this Redis can lose accepted notifications (--unsafe-redis overrides): " + "; ".join(found))
    return found
