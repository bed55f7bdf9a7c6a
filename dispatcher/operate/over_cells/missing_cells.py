"""Collects which cells are missing in an answer, while the answer is made.

The HTTP layer opens a collection for each request and adds the result to the answer as a header. The use cases, which
return the same values as those of one cell, note each cell that they leave out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = "dispatcher-missing-cells"
"""The name of the header that lists the missing cells, separated by commas."""

_missing: ContextVar[set[str] | None] = ContextVar("missing_cells", default=None)


@contextmanager
def collected() -> Iterator[set[str]]:
    """Collect the cells that are left out inside this context, also by tasks that are started in it."""
    found: set[str] = set()
    token = _missing.set(found)
    try:
        yield found
    finally:
        _missing.reset(token)


def note_missing(cell: str) -> None:
    """Note that an answer will not contain what is in `cell`. Outside of `collected`, nothing happens."""
    found = _missing.get()
    if found is not None:
        found.add(cell)
