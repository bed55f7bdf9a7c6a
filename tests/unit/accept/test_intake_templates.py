"""The file's templates, as an intake replica puts them into the store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from actors.intake import IntakeActor
from dispatcher.config.settings import TemplateSettings
from dispatcher.core.store.continuity import Break, Mark
from dispatcher.errors import CallerError
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.store import MemoryTemplateStore
from tests.unit.desk import Desk
from tests.virtual import virtual


def replica(store: MemoryTemplateStore, **texts: str) -> IntakeActor:
    """A replica with these templates in its file, on a store that others may have written to."""
    actor = IntakeActor({}, {}, {})
    actor.settings.templates.update({name: TemplateSettings(text=text) for name, text in texts.items()})
    actor.templates = TemplateCache(store)
    return actor


async def text_of(store: MemoryTemplateStore, name: str) -> Any:
    found = await store.get(name, (await store.latest())[name])
    return None if found is None else found.text


@virtual
async def test_a_template_that_does_not_compile_stops_no_other() -> None:
    """It was refused when the file was read; should it come through, it is logged once, and the front door stays up."""
    store = MemoryTemplateStore()
    actor = replica(store, bad="Hi {{ name", good="Hi")
    with capture_logs() as logs:
        refreshing = asyncio.ensure_future(actor._refresh_templates())
        await asyncio.sleep(3.0)
    assert not refreshing.done()
    assert await store.latest() == {"good": 1}
    assert [(log["event"], log["template"]) for log in logs] == [("template_refused", "bad")]
    refreshing.cancel()


@virtual
async def test_a_changed_file_makes_a_new_version() -> None:
    """And the same file none, also not over what somebody has put since."""
    store = MemoryTemplateStore()
    await replica(store, paid="one")._seed_templates()
    await replica(store, paid="two")._seed_templates()
    assert (await store.latest(), await text_of(store, "paid")) == ({"paid": 2}, "two")
    await TemplateCache(store).put(TemplateSource("paid", "over the API"))
    again = replica(store, paid="two")
    for _ in range(3):
        await again._seed_templates()
    assert (await store.latest(), await text_of(store, "paid")) == ({"paid": 3}, "over the API")
    await replica(store, paid="three")._seed_templates()
    assert await text_of(store, "paid") == "three"


@virtual
async def test_replicas_of_two_files_do_not_take_turns() -> None:
    """While a changed file is applied, those of the file before it still run."""
    store = MemoryTemplateStore()
    before, after = replica(store, paid="one"), replica(store, paid="two")
    for actor in (before, after, before, after, before):
        await actor._seed_templates()
    assert (await store.latest(), await text_of(store, "paid")) == ({"paid": 2}, "two")


@virtual
async def test_what_the_store_lost_is_given_again() -> None:
    """An emptied store gets the file's text; an older copy too, as soon as it is known to be one."""
    store = MemoryTemplateStore()
    await replica(store, paid="one")._seed_templates()
    actor = replica(store, paid="two")
    await actor._seed_templates()
    older = MemoryTemplateStore()
    await replica(older, paid="one")._seed_templates()
    actor.templates = TemplateCache(older)
    actor._store_broke(Break("went_back", Mark("x", 2), Mark("x", 1)))
    await actor._seed_templates()
    assert await text_of(older, "paid") == "two"
    emptied = MemoryTemplateStore()
    actor.templates = TemplateCache(emptied)
    await actor._seed_templates()
    assert await text_of(emptied, "paid") == "two"


@pytest.mark.parametrize(
    ("data", "says"),
    [({}, "missing variable name"), ({"name": None}, "name: a null"), ({"name": ["a"]}, "name: a list")],
)
@virtual
async def test_data_that_does_not_fit_its_template_is_refused(data: dict[str, Any], says: str) -> None:
    """The caller learns which variable, and nothing is stored: the same data would be a dead letter."""
    desk = Desk()
    await desk.intake._templates.put(TemplateSource("paid", "Hi {{ name }}"))
    wanted = [{"channel": "sms", "template": "paid"}]
    with pytest.raises(CallerError, match=says) as caught:
        await desk.post(notifications=wanted, data=data)
    assert (caught.value.status, caught.value.field, desk.stage.states()) == (422, "data", [])
    await desk.post(notifications=wanted, data={"name": "Ada"})
    assert desk.stage.states() == ["queued"]


@virtual
async def test_the_latest_versions_are_compiled_before_they_are_needed() -> None:
    """No accept waits for the store or the compiler; a version that does not compile is tried once."""
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
