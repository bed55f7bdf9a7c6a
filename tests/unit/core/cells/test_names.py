"""The first character of an id names its cell."""

from __future__ import annotations

import pytest

from dispatcher.core.cells.names import CELL_NAMES, cell_of


def test_each_name_is_one_character() -> None:
    assert len(set(CELL_NAMES)) == len(CELL_NAMES) == 16


@pytest.mark.parametrize(
    ("id_", "cell"), [("0-abc", "0"), ("f-abc.3", "f"), ("g-abc", None), ("10-abc", None), ("0abc", None), ("", None)]
)
def test_an_id_names_its_cell_or_none(id_: str, cell: str | None) -> None:
    assert cell_of(id_) == cell
