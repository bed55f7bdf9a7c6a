"""Tests that the store accepts a trigger only if it still has the template text from which intake rendered the trigger,
even after a loss of data.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.memory.cell import Cell
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.adapters.memory.views import MemoryViews
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.adapters.redis.views import RedisViews
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.core.life.notification import NewNotification, NewTrigger
from dispatcher.ports import STORED, AcceptReply, AcceptResult
from dispatcher.templates.owned import DELETED_KEPT_MS, TemplateQuota, stored_name
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.store import MemoryTemplateStore
from tests.contract.worlds import DAY_MS, trigger

OUTDATED = AcceptReply(AcceptResult.OUTDATED)
PAID = TemplateSource("paid", "Order {{ order }} is paid")
OTHER = TemplateSource("paid", "Something else")


class Pair:
    """A store with its templates and its views, on Redis or in memory."""

    def __init__(self, store: Any, templates: Any, views: Any) -> None:
        self.store, self.templates, self.views = store, templates, views

    async def accept(self, *triggers: NewTrigger) -> list[AcceptReply]:
        found: list[AcceptReply] = await self.store.accept(triggers)
        return found


@pytest.fixture(params=["redis", "memory"])
def pair(request: pytest.FixtureRequest) -> Pair:
    if request.param == "redis":
        client: redis.asyncio.Redis = request.getfixturevalue("redis_client")
        return Pair(RedisStore(client), RedisTemplateStore(client), RedisViews(client))
    cell, templates = Cell(SystemClock()), MemoryTemplateStore()
    return Pair(MemoryStore(cell, templates=templates), templates, MemoryViews(cell))


def naming(source: TemplateSource, version: int, count: int = 1, **changes: Any) -> NewTrigger:
    """Return a trigger of `count` notifications that name this version of a template, and the digest of its text."""
    one = NewNotification("sms", "+4915112345678", ("a",), "a", source.name, version, template_digest=source.digest)
    return trigger(notifications=(one,) * count, **changes)


async def test_what_names_a_stored_text_is_accepted(pair: Pair) -> None:
    """A trigger names a template version and the digest of its text. The trigger is accepted if the store has that text
    as that version, also if a newer version exists.
    """
    assert [await pair.templates.put(source) for source in (PAID, OTHER)] == [1, 2]
    assert await pair.accept(naming(PAID, 1), naming(OTHER, 2), naming(PAID, 1, 3)) == [STORED] * 3


@pytest.mark.parametrize(
    "named",
    [
        pytest.param(lambda: naming(PAID, 1), id="the number has another text"),
        pytest.param(lambda: naming(PAID, 2), id="no such version"),
        pytest.param(lambda: naming(TemplateSource("gone", "x"), 1), id="no such template"),
        pytest.param(
            lambda: naming(TemplateSource(stored_name("a\nb", "paid"), "x"), 1), id="a tenant with a line end"
        ),
    ],
)
async def test_a_store_that_lost_data_accepts_no_other_text(pair: Pair, named: Any) -> None:
    """The store was emptied, and its version numbers began again. A trigger names a version that has another text now,
    or that does not exist.

    The whole trigger is answered OUTDATED and is not stored.
    """
    assert await pair.templates.put(OTHER) == 1
    new = named()
    mixed = NewTrigger(
        **{**vars_of(new), "id": "0-mixed", "notifications": (*naming(OTHER, 1).notifications, *new.notifications)}
    )
    assert await pair.accept(new, mixed) == [OUTDATED, OUTDATED]
    assert [await pair.views.trigger(one.id) for one in (new, mixed)] == [None, None]


def vars_of(new: NewTrigger) -> dict[str, Any]:
    return {name: getattr(new, name) for name in NewTrigger.__dataclass_fields__}


async def test_a_repeat_needs_no_template(pair: Pair) -> None:
    """A repeated trigger is answered REPLAYED, even if the version that it names now does not exist."""
    await pair.templates.put(PAID)
    new = naming(PAID, 1)
    assert await pair.accept(new) == [STORED]
    assert await pair.accept(NewTrigger(**{**vars_of(new), "notifications": naming(OTHER, 7).notifications})) == [
        AcceptReply(AcceptResult.REPLAYED)
    ]


async def test_a_text_is_kept_as_long_as_a_trigger_waits_for_it(pair: Pair, monkeypatch: Any) -> None:
    """A deleted text is kept until a month after the last trigger that names it expires. A text that no waiting trigger
    names is removed earlier.

    The test sets the month to a millisecond.
    """
    monkeypatch.setattr("dispatcher.templates.owned.DELETED_KEPT_MS", 1)
    monkeypatch.setattr("dispatcher.templates.store.DELETED_KEPT_MS", 1)
    monkeypatch.setattr("dispatcher.adapters.redis.templates.DELETED_KEPT_MS", 1)
    sources = {name: TemplateSource(stored_name("acme", name), name) for name in ("today", "later")}
    for source in sources.values():
        await pair.templates.put(source, quota=TemplateQuota(5, 1000))
    now_ms = time.time_ns() // 1_000_000
    near = naming(sources["today"], 1, accepted_ms=now_ms, expires_ms=now_ms)
    far = [naming(sources["later"], 1, accepted_ms=now_ms, expires_ms=now_ms + ms) for ms in (2 * DAY_MS, DAY_MS)]
    assert await pair.accept(near, *far) == [STORED] * 3
    for source in sources.values():
        assert await pair.templates.delete(source.name)
    await asyncio.sleep(0.05)
    assert await pair.templates.get("acme/today", 1) is None
    assert (await pair.templates.get("acme/later", 1)).text == "later"
    if isinstance(pair.templates, RedisTemplateStore):
        left_ms = await pair.templates._client.pttl("{nd:0}:template:acme/later")
        assert DAY_MS < left_ms <= 2 * DAY_MS + 1
    assert DELETED_KEPT_MS > 30 * DAY_MS


async def test_a_distant_trigger_names_no_deleted_text(pair: Pair) -> None:
    """The text of a deleted template is kept for a month. Two triggers name it.

    The trigger that expires later than that is answered OUTDATED, and the trigger that expires earlier STORED.
    """
    await pair.templates.put(PAID)
    await pair.templates.delete("paid")
    now_ms = time.time_ns() // 1_000_000
    assert await pair.accept(naming(PAID, 1, expires_ms=now_ms + 2 * DELETED_KEPT_MS), naming(PAID, 1)) == [
        OUTDATED,
        STORED,
    ]


async def test_versions_of_before_digests_are_accepted(redis_client: redis.asyncio.Redis) -> None:
    """A template text that an earlier version of this program stored has no digest. Then the store accepts a trigger by
    the number of the template version alone.
    """
    store, templates = RedisStore(redis_client), RedisTemplateStore(redis_client)
    await templates.put(PAID)
    await redis_client.hdel("{nd:0}:template:paid", "#1")
    assert await store.accept([naming(PAID, 1), naming(PAID, 2)]) == [STORED, OUTDATED]


async def test_the_bytes_of_a_deleted_template_are_those_of_its_texts(redis_client: redis.asyncio.Redis) -> None:
    """The store counts the bytes of a template's texts, without digests. The number is the same after the template is
    deleted.
    """
    templates = RedisTemplateStore(redis_client)
    source = TemplateSource("acme/x", "y" * 100)
    await templates.put(source, quota=TemplateQuota(5, 1000))
    before = (await redis_client.hget("{nd:0}:templates:of:acme", "acme/x")).split()
    await templates.delete("acme/x")
    after = (await redis_client.hget("{nd:0}:templates:of:acme", "acme/x")).split()
    assert before[0] == after[0] == str(len(source.canonical()))
