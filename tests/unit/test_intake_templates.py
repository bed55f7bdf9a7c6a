"""The file's templates, as an intake replica puts them into the store."""

from __future__ import annotations

import asyncio
from typing import Any

from structlog.testing import capture_logs

from actors.intake import IntakeActor
from dispatcher.settings import TemplateSettings
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.store import MemoryTemplateStore
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
