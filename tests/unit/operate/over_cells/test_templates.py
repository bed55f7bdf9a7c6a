"""Templates are equal in all cells: the same versions under the same numbers."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate.over_cells.cells import Cells
from dispatcher.operate.over_cells.templates import TemplatesOverCells
from dispatcher.operate.templates import Templates
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.owned import TemplateQuota
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.store import MemoryTemplateStore
from tests.unit.operate.over_cells.two_cells import Silence


class Library:
    """The template stores of two cells, and the operations over both."""

    def __init__(self) -> None:
        self.stores = {cell: MemoryTemplateStore() for cell in "01"}
        self.links = {cell: Silence(store) for cell, store in self.stores.items()}
        quota = TemplateQuota(2, 10_000)
        self.caches = {cell: TemplateCache(link) for cell, link in self.links.items()}
        parts = {cell: Templates(self.caches[cell], self.links[cell], quota, {"in-file"}) for cell in "01"}
        self.known_away: set[str] = set()
        self.over = TemplatesOverCells(Cells(parts, lambda cell: cell not in self.known_away))

    def put(self, text: str, owner: str | None = None) -> int:
        return asyncio.run(self.over.put(owner, TemplateSource("paid", text)))

    def latest(self) -> list[dict[str, int]]:
        return [asyncio.run(store.latest()) for store in self.stores.values()]


def test_a_version_has_the_same_number_in_every_cell() -> None:
    """An unchanged text keeps its number, also for a tenant's own template."""
    library = Library()
    assert [library.put(text) for text in ("a", "a", "b")] == [1, 1, 2]
    assert library.put("own", "acme") == 1
    assert library.latest() == [{"paid": 2, "acme/paid": 1}] * 2
    assert asyncio.run(library.over.source("acme", "paid", None)).text == "own"


@pytest.mark.parametrize("known", [True, False])
def test_a_put_needs_every_cell(known: bool) -> None:
    """While a cell is away the put fails. If that is known before, no cell is changed. The repeated put gives both
    cells one number.
    """
    library = Library()
    library.put("a")
    library.links["1"].on = True
    library.known_away = {"1"} if known else set()
    with pytest.raises(UnavailableError, match="cell 1"):
        library.put("b")
    assert library.latest()[0] == {"paid": 1 if known else 2}
    library.links["1"].on, library.known_away = False, set()
    assert library.put("b") == 2
    assert library.latest() == [{"paid": 2}] * 2


def test_a_number_that_a_cell_gave_to_another_text_is_not_used() -> None:
    """The first cell lost its templates, so it would give the numbers 1 and 2 again. It takes 3, in both cells."""
    library = Library()
    for text in ("a", "b"):
        library.put(text)
    library.stores["0"]._kept.clear()
    assert library.put("c") == 3
    assert library.latest() == [{"paid": 3}] * 2
    texts = [asyncio.run(store.get("paid", 3)) for store in library.stores.values()]
    assert [found and found.text for found in texts] == ["c", "c"]


def test_a_template_is_deleted_in_every_cell() -> None:
    """If a cell was away at the first call, the repeated call deletes it there. A third call is 404, and a template of
    the configuration file 409.
    """
    library = Library()
    library.put("a")
    library.links["1"].on = True
    with pytest.raises(UnavailableError, match="cell 1"):
        asyncio.run(library.over.delete(None, "paid"))
    library.links["1"].on = False
    asyncio.run(library.over.delete(None, "paid"))
    assert library.latest() == [{}, {}]
    for name, status in (("paid", 404), ("in-file", 409)):
        with pytest.raises(CallerError) as error:
            asyncio.run(library.over.delete(None, name))
        assert error.value.status == status


def test_templates_are_read_while_the_first_cell_is_away() -> None:
    library = Library()
    library.put("a")
    for cache in library.caches.values():
        cache.loaded = True
    library.links["0"].on, library.known_away = True, {"0"}
    assert library.over.listing(None) == ({"paid": 1}, [])
    assert asyncio.run(library.over.source(None, "paid", 1)).text == "a"
