"""A Redis that can lose acknowledged data is refused, and the message names the setting to change."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from cluster.local import redis_checks
from dispatcher.errors import ConfigError

SAFE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory": "1073741824",
    "maxmemory-policy": "noeviction",
    "save": "",
}


class FakeRedis:
    """Answers INFO and CONFIG GET. With `settings=None`, CONFIG is an unknown command, as on many hosted servers."""

    def __init__(self, version: str = "7.2.4", settings: dict[str, str] | None = SAFE, **changes: str | None) -> None:
        self._version = version
        self._settings = settings
        if settings is not None:
            changed = {**settings, **{name.replace("_", "-"): value for name, value in changes.items()}}
            self._settings = {name: value for name, value in changed.items() if value is not None}

    def info(self, section: str) -> dict[str, Any]:
        return {"server": {"redis_version": self._version}, "cluster": {"cluster_enabled": 0}}[section]

    def eval(self, script: str, keys: int, key: str, word: str) -> str:
        assert keys == 1 and key.startswith("{nd:0}:")
        return word

    def config_get(self, pattern: str) -> dict[str, str]:
        assert pattern == "*"
        if self._settings is None:
            raise redis.ResponseError("unknown command 'CONFIG'")
        return self._settings


def check(fake: FakeRedis, unsafe: bool = False) -> list[str]:
    return redis_checks.check(cast(redis.Redis, fake), unsafe)


UNSAFE = {
    "no append-only file": (FakeRedis(appendonly="no"), "appendonly is no, needed is yes"),
    "fsync each second": (FakeRedis(appendfsync="everysec"), "appendfsync is everysec, needed is always"),
    "fsync never": (FakeRedis(appendfsync="no"), "appendfsync is no, needed is always"),
    "no fsync while rewriting": (
        FakeRedis(no_appendfsync_on_rewrite="yes"),
        "no-appendfsync-on-rewrite is yes, needed is no",
    ),
    "eviction of any key": (
        FakeRedis(maxmemory_policy="allkeys-lru"),
        "maxmemory-policy is allkeys-lru, needed is noeviction",
    ),
    "eviction of keys that expire": (
        FakeRedis(maxmemory_policy="volatile-ttl"),
        "maxmemory-policy is volatile-ttl, needed is noeviction",
    ),
    "no memory limit": (FakeRedis(maxmemory="0"), "maxmemory is 0 (no limit)"),
    "unknown memory limit": (FakeRedis(maxmemory=None), "maxmemory is 0 (no limit)"),
    "setting not shown": (FakeRedis(appendfsync=None), "appendfsync is None, needed is always"),
    "version 6.0": (FakeRedis("6.0.16"), "version is 6.0.16, needed is 6.2 or newer"),
    "version 5": (FakeRedis("5.0.14"), "version is 5.0.14, needed is 6.2 or newer"),
    "settings not readable": (FakeRedis(settings=None), "settings cannot be read"),
}


@pytest.mark.parametrize("version", ["6.2.0", "6.2.14", "7.0.0", "8.10.1"])
def test_a_safe_redis_passes_without_a_word(version: str) -> None:
    """A Redis with the needed settings and a supported version causes no error and no warning."""
    assert check(FakeRedis(version)) == []
    assert check(FakeRedis(version), unsafe=True) == []


@pytest.mark.parametrize(("fake", "words"), UNSAFE.values(), ids=UNSAFE)
def test_an_unsafe_setting_is_refused_by_name(fake: FakeRedis, words: str) -> None:
    """`ConfigError` names the setting, its value and the needed value, and how to override the check."""
    with pytest.raises(ConfigError) as refused:
        check(fake)
    assert words in str(refused.value)
    assert "--unsafe-redis overrides" in str(refused.value)
    assert str(refused.value).count(";") == 0, "one fault is one sentence"


@pytest.mark.parametrize(("fake", "words"), UNSAFE.values(), ids=UNSAFE)
def test_the_override_makes_it_a_warning(fake: FakeRedis, words: str) -> None:
    """A Redis is unsafe, and `unsafe` is True. The sentence that would be the error is returned as a warning
    instead.
    """
    (warning,) = check(fake, unsafe=True)
    assert warning.startswith(words)


def test_all_faults_are_named_at_once() -> None:
    """One error names all faults, so that an operator can mend them at once."""
    fake = FakeRedis("6.0.0", {}, maxmemory="0", appendonly="no", appendfsync="everysec")
    assert len(check(fake, unsafe=True)) == len(redis_checks.NEEDED) + 2
    with pytest.raises(ConfigError) as refused:
        check(fake)
    for name in (*redis_checks.NEEDED, "maxmemory", "version"):
        assert f"{name} is" in str(refused.value)


def test_an_operator_may_state_what_a_server_does_not_show() -> None:
    """With `store.durability_stated`, a Redis that refuses the command CONFIG is accepted without a check of its
    settings.

    Without `store.durability_stated` such a Redis is refused. If Redis answers CONFIG, its settings are checked even
    with `store.durability_stated`.
    """
    hidden, lossy = cast(redis.Redis, FakeRedis(settings=None)), cast(redis.Redis, FakeRedis(appendfsync="no"))
    assert redis_checks.check(hidden, False, stated=True) == []
    with pytest.raises(ConfigError, match=r"or store\.durability_stated"):
        redis_checks.check(hidden, False)
    with pytest.raises(ConfigError, match="appendfsync is no"):
        redis_checks.check(lossy, False, stated=True)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:6379", "must begin with redis://"),
        ("redis:localhost", "must begin with redis://"),
        ("http://localhost:6379", "must begin with redis://"),
        ("redis://:p#ss@localhost:6379/0", "percent-encoded"),
        ("redis://:p[ss@localhost:6379/0", "percent-encoded"),
        ("redis://:p/ss@localhost:6379/0", "percent-encoded"),
        ("redis://:p@ss@localhost:6379/0", "percent-encoded"),
        ("redis://:p?ss@localhost:6379/0", "percent-encoded"),
        ("redis://localhost:66379", "percent-encoded"),
        ("redis://", "must have a host"),
        ("redis://localhost/queue", "number of a database"),
        ("unix://", "must name a socket"),
        ("${ABSENT_URL}", "the environment variable ABSENT_URL is not set"),
        ("file:/absent/url", "the file cannot be read"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_in_one_sentence(url: str, words: str) -> None:
    """A wrong URL is refused in one sentence that names `--redis-url`.

    The error and its traceback contain no part of a password.

    Issues elsewhere: celery 3327, redis-py 799.
    """
    with pytest.raises(ConfigError, match="--redis-url: ") as refused:
        redis_checks.connect(url)
    assert words in str(refused.value)
    shown = "".join(traceback.format_exception(refused.value))
    assert "\n" not in str(refused.value) and "ss@" not in shown and "'p" not in shown


@pytest.mark.parametrize("form", ["${REDIS_FOR_US}", "file:{file}", "redis://u:p%23ss@shop.test:6390/2"])
def test_a_url_may_be_a_reference(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL may be given as it is, as an environment variable, or as a file that ends with a line end."""
    monkeypatch.setenv("REDIS_FOR_US", "redis://u:p%23ss@shop.test:6390/2\n")
    (tmp_path / "url").write_text("redis://u:p%23ss@shop.test:6390/2\n")
    found = redis_checks.connect(form.replace("{file}", str(tmp_path / "url"))).connection_pool.connection_kwargs
    assert (found["host"], found["port"], found["db"], found["password"]) == ("shop.test", 6390, 2, "p#ss")
