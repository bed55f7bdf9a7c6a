"""The template stores keep versions, and the cache keeps compiled templates. An error of the template is final, and an
error of the store is not.
"""

from __future__ import annotations

from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.errors import TemplateError, TemplateGoneError, UnavailableError
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.store import MemoryTemplateStore


class ScriptedStore(MemoryTemplateStore):
    """A store in memory that counts its `get` calls. While `away` is set, it raises `UnavailableError`."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.away = False

    async def get(self, name: str, version: int) -> TemplateSource | None:
        self.asked += 1
        if self.away:
            raise UnavailableError("away")
        return await super().get(name, version)

    async def latest(self) -> dict[str, int]:
        if self.away:
            raise UnavailableError("away")
        return await super().latest()


async def test_the_same_content_is_the_same_version() -> None:
    """Storing the same content again gives the same version.

    A change makes a new version, and old versions stay as they are.
    """
    store = MemoryTemplateStore()
    assert [await store.put(TemplateSource("t", text)) for text in ("a", "a", "b", "a")] == [1, 1, 2, 3]
    found = await store.get("t", 1)
    assert found == TemplateSource("t", "a", version=1)
    assert await store.latest() == {"t": 3}


async def test_what_does_not_compile_is_not_stored() -> None:
    """A template that does not compile is refused and not stored.

    So its author sees the error, and no notification fails because of it.
    """
    store = MemoryTemplateStore()
    with pytest.raises(TemplateError):
        await TemplateCache(store).put(TemplateSource("t", "{{ range(9) }}"))
    assert await store.latest() == {}


@pytest.mark.parametrize(
    ("part", "source", "shown"),
    [
        ("text", "Hi {{ v }}\x07!", "Hi Ada\x07!"),
        ("text", "{{ 'a\\x0bb' }}", "a\x0bb"),
        ("html", "\x00<a href='\x00/{{ v }}'>", "<a href='/Ada'>"),
        ("text", "{% set n = 0 %}{% for i in rows %}{% set n = n + i %}{% endfor %}{{ n }}", "0"),
        ("text", "{% if v == 'x' %}{{ v | round(2, 'floor') }}{{ v | money }}{% endif %}{{ v }}", "Ada"),
        ("text", "{{ v | replace('A', 'B',) }}", "Bda"),
        ("text", "{{ rows | join(separator='-') }}", "1-2"),
        ("text", "{{ v }}{{ 1 }}" * 2_900, "Ada1" * 2_900),
        ("html", "<a b=c>" * 2_400, "<a b=c>" * 2_400),
        ("subject", "{% if v == 'x' %}a\n{% endif %}{{ v }}", "Ada"),
    ],
)
async def test_a_text_of_an_earlier_release_goes_on_rendering(part: str, source: str, shown: str) -> None:
    """A template was stored by an earlier release, and today's rules would refuse it. It still renders, because
    accepted triggers use it.

    A template with this text cannot be stored again.
    """
    store = MemoryTemplateStore()
    parts = {"text": "x", part: source}
    template = TemplateSource("t", parts["text"], parts.get("subject"), parts.get("html"))
    await store.put(template)  # as it was stored then, without today's rules
    rendered = (await TemplateCache(store).get("t", 1)).render({"v": "Ada", "rows": [1, 2]})
    assert getattr(rendered, part) == shown
    with pytest.raises(TemplateError):
        await TemplateCache(store).put(template)


async def test_a_text_of_an_earlier_release_is_as_safe_as_a_new_one() -> None:
    """An earlier release has stored a template that is unsafe for recipients, such as an expression inside `<script>`.
    This release refuses to compile it, as it refuses a new text.
    """
    store = MemoryTemplateStore()
    await store.put(TemplateSource("t", "x", html="<script>{{ v }}</script>"))
    with pytest.raises(TemplateError, match="inside of <script>"):
        await TemplateCache(store).get("t", 1)


async def test_a_version_is_fetched_once() -> None:
    """A version is fetched once and then cached, because it never changes.

    The second `get` works even if the store is away.
    """
    store = ScriptedStore()
    cache = TemplateCache(store)
    version = await cache.put(TemplateSource("t", "Hi {{ name }}"))
    first = await cache.get("t", version)
    store.away = True
    assert await cache.get("t", version) is first
    assert store.asked == 1


async def test_absent_and_unanswered_are_different() -> None:
    """A version that is absent raises `TemplateError`, and a store that is away raises `UnavailableError`.

    Neither answer is cached.
    """
    store = ScriptedStore()
    cache = TemplateCache(store)
    with pytest.raises(TemplateError, match="template t has no version 1"):
        await cache.get("t", 1)
    await store.put(TemplateSource("t", "x"))
    store.away = True
    with pytest.raises(UnavailableError):
        await cache.get("t", 1)
    store.away = False
    assert (await cache.get("t", 1)).render({}).text == "x"


async def test_the_cache_is_bounded_and_keeps_what_is_used() -> None:
    """A full cache drops the version that was used longest ago."""
    store = ScriptedStore()
    cache = TemplateCache(store, compiled_max=2)
    for name in ("a", "b", "c"):
        await store.put(TemplateSource(name, name))
    for name in ("a", "b", "a", "c", "a"):
        await cache.get(name, 1)
    assert store.asked == 3
    await cache.get("b", 1)
    assert store.asked == 4


async def test_the_latest_map_outlives_an_outage() -> None:
    """A refresh that fails raises `UnavailableError` and keeps the previous map of latest versions."""
    store = ScriptedStore()
    cache = TemplateCache(store)
    assert not cache.loaded
    await store.put(TemplateSource("t", "x"))
    await cache.refresh()
    store.away = True
    with pytest.raises(UnavailableError):
        await cache.refresh()
    assert (cache.loaded, dict(cache.latest)) == (True, {"t": 1})


class FailingClient(redis.asyncio.Redis):
    """A Redis client without a connection. Each of its commands raises the given error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("x"),
        RedisTimeoutError("x"),
        OutOfMemoryError("OOM command not allowed"),
        ResponseError("Error running script (call to f_1): @user_script: 16: -OOM command not allowed"),
    ],
)
async def test_a_redis_that_does_not_answer_is_unavailable(error: Exception) -> None:
    """Redis is unreachable or full. Each operation of the template store raises `UnavailableError`."""
    store = RedisTemplateStore(FailingClient(error))
    for operation in (store.put(TemplateSource("t", "x")), store.get("t", 1), store.latest()):
        with pytest.raises(UnavailableError):
            await operation


async def test_another_redis_error_is_not_hidden() -> None:
    """Redis answers with an error about a wrong type. The error is raised unchanged, because it is our bug and no
    outage.
    """
    with pytest.raises(ResponseError):
        await RedisTemplateStore(FailingClient(ResponseError("WRONGTYPE"))).get("t", 1)


async def test_an_emptied_store_is_not_one_without_templates() -> None:
    """When known templates vanish from the store, the cache counts as not loaded until they are stored again.

    Meanwhile callers are told to try later.
    """
    store = ScriptedStore()
    cache = TemplateCache(store)
    await cache.refresh()
    assert cache.loaded, "a store that never had any is one without"
    await cache.put(TemplateSource("paid", "text"))
    await cache.refresh()
    store.__init__()  # type: ignore[misc]
    await cache.refresh()
    assert not cache.loaded
    await cache.put(TemplateSource("paid", "text"))
    await cache.refresh()
    assert cache.loaded


async def test_the_latest_versions_are_compiled_before_they_are_needed() -> None:
    """`warm` compiles the latest versions, so that no accept waits.

    A version that does not compile is tried only once.
    """
    store = MemoryTemplateStore()
    await store.put(TemplateSource("paid", "Hi {{ name }}"))
    await store.put(TemplateSource("bad", "{{"))
    cache = TemplateCache(store)
    await cache.refresh()
    await cache.warm()
    asked: list[str] = []
    store.get = lambda name, version: asked.append(name)  # type: ignore[assignment, method-assign, return-value, func-returns-value]
    await cache.warm()
    await cache.get("paid", 1)
    assert asked == []


async def test_a_number_with_another_text_is_not_that_version() -> None:
    """After the store lost data, the same version number may have two texts. A trigger names the digest of its text.

    A cache renders the text with that digest, or raises `TemplateGoneError`.
    """
    store = ScriptedStore()
    cache = TemplateCache(store)
    old, new = TemplateSource("t", "old"), TemplateSource("t", "new")
    await cache.put(old)
    assert (await cache.get("t", 1, old.digest)).render({}).text == "old"
    emptied = TemplateCache(store)
    store._kept.clear()
    await emptied.put(new)
    assert (await cache.get("t", 1, new.digest)).render({}).text == "new"
    for known in (cache, emptied):
        with pytest.raises(TemplateGoneError, match="another text than the accepted one"):
            await known.get("t", 1, old.digest)


async def test_what_a_store_lost_is_compiled_again() -> None:
    """After `forget`, a version is fetched from the store again, because the store may have lost data and have
    another text.
    """
    store = ScriptedStore()
    cache = TemplateCache(store)
    await cache.put(TemplateSource("t", "old"))
    await cache.get("t", 1)
    store._kept.clear()
    await store.put(TemplateSource("t", "new"))
    cache.forget()
    assert (await cache.get("t", 1)).render({}).text == "new"


async def test_a_stored_version_is_not_judged_again() -> None:
    """A newer release has a stricter rule, such as no line end in a subject. It refuses a new text that breaks the
    rule.

    A version that is stored already is still rendered, so that triggers accepted earlier can be sent.
    """
    store, old = ScriptedStore(), TemplateSource("t", "Hi", "{% if n %}a\nb{% endif %}Paid")
    cache = TemplateCache(store)
    with pytest.raises(TemplateError, match="subject: line 1: must not contain a line end"):
        await cache.put(old)
    await store.put(old)
    assert (await cache.get("t", 1)).render({"n": ""}).subject == "Paid"
