"""An intake replica puts the templates of its configuration file into the store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from dispatcher.errors import UnavailableError
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.seeding import TemplateSeeding
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.store import MemoryTemplateStore
from tests.virtual import virtual


def replica(store: MemoryTemplateStore, **texts: str) -> TemplateSeeding:
    """Return the part of a replica that stores the templates of its file. `texts` are the file's templates.

    Other replicas may have written to `store` before.
    """
    return TemplateSeeding(TemplateCache(store), [TemplateSource(name, text) for name, text in texts.items()])


async def text_of(store: MemoryTemplateStore, name: str) -> Any:
    found = await store.get(name, (await store.latest())[name])
    return None if found is None else found.text


@virtual
async def test_a_template_that_does_not_compile_stops_no_other() -> None:
    """The configuration file has a template that does not compile. This fault is logged once.

    The other templates of the file are stored, and the replica keeps running.
    """
    store = MemoryTemplateStore()
    seeding = replica(store, bad="Hi {{ name", good="Hi")
    with capture_logs() as logs:
        refreshing = asyncio.ensure_future(seeding.run())
        await asyncio.sleep(3.0)
    assert not refreshing.done()
    assert await store.latest() == {"good": 1}
    assert [(log["event"], log["template"]) for log in logs] == [("template_refused", "bad")]
    refreshing.cancel()


@virtual
async def test_what_the_file_gives_is_never_said_not_to_exist() -> None:
    """The configuration file has a template that is not stored yet. `find` then raises `UnavailableError`, so that the
    caller tries again. It does not say that the template is unknown.
    """
    store = MemoryTemplateStore()
    seeding = replica(store, bad="Hi {{ name", paid="one", shipped="two")
    found: list[object] = []

    async def put(source: TemplateSource, **more: Any) -> int:
        for name in ("paid", "shipped"):
            try:
                found.append(seeding.cache.find("acme", name))
            except UnavailableError:
                found.append("later")
        return await MemoryTemplateStore.put(store, source, **more)

    store.put = put  # type: ignore[method-assign]
    await seeding.seed()
    assert found == ["later", "later", ("paid", 1), "later"]
    await store.delete("shipped")
    await seeding.cache.refresh()  # as a replica sees it between two of another one's writes
    assert seeding.cache.loaded
    with pytest.raises(UnavailableError, match="the template shipped is being stored"):
        seeding.cache.find("acme", "shipped")
    assert seeding.cache.find("acme", "gone") is None
    assert seeding.cache.find(None, "bad") is None, "what does not compile is not promised"


@virtual
async def test_a_changed_file_makes_a_new_version() -> None:
    """A configuration file with a changed template makes a new version of this template.

    A file that is not changed makes no new version, even if somebody has stored a newer text over the API.
    """
    store = MemoryTemplateStore()
    await replica(store, paid="one").seed()
    await replica(store, paid="two").seed()
    assert (await store.latest(), await text_of(store, "paid")) == ({"paid": 2}, "two")
    await TemplateCache(store).put(TemplateSource("paid", "over the API"))
    again = replica(store, paid="two")
    for _ in range(3):
        await again.seed()
    assert (await store.latest(), await text_of(store, "paid")) == ({"paid": 3}, "over the API")
    await replica(store, paid="three").seed()
    assert await text_of(store, "paid") == "three"


@virtual
async def test_replicas_of_two_files_do_not_take_turns() -> None:
    """During an update, replicas with the old file and with the new file store their templates in turn.

    The new text stays. The old text is not stored again.
    """
    store = MemoryTemplateStore()
    before, after = replica(store, paid="one"), replica(store, paid="two")
    for seeding in (before, after, before, after, before):
        await seeding.seed()
    assert (await store.latest(), await text_of(store, "paid")) == ({"paid": 2}, "two")


@virtual
async def test_what_the_store_lost_is_given_again() -> None:
    """The file's text is stored again in an emptied store, and in an older copy of the store after `store_broke`."""
    store = MemoryTemplateStore()
    await replica(store, paid="one").seed()
    seeding = replica(store, paid="two")
    await seeding.seed()
    older = MemoryTemplateStore()
    await replica(older, paid="one").seed()
    seeding.cache = TemplateCache(older)
    seeding.store_broke()
    await seeding.seed()
    assert await text_of(older, "paid") == "two"
    emptied = MemoryTemplateStore()
    seeding.cache = TemplateCache(emptied)
    await seeding.seed()
    assert await text_of(emptied, "paid") == "two"
