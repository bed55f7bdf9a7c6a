"""Docstrings are statements in common words: none begins without a subject, and none has a retired phrase."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sources import ROOT

TREES = ("dispatcher", "actors", "serve_app", "cluster", "benchmarks", "handbook", "tests")
HEADLESS = re.compile(r"(Of|As|Is it|Are they|Was|Whether|Who|What|Does|Do) |None: |No more than ")
RETIRED = re.compile(r"\b(for[ ]ever|ane[w]|ami[d])\b", re.IGNORECASE)  # in brackets, so that this line has none


def _room(path: Path) -> str:
    """Return the room that a file belongs to: its folder below `dispatcher` or `dispatcher/core`, and otherwise
    its whole tree.
    """
    parts = path.relative_to(ROOT).parts
    depth = 1 if parts[0] != "dispatcher" else 3 if parts[1] == "core" else 2
    return "/".join(parts[:-1][:depth])


ROOMS: dict[str, list[Path]] = {}
for _path in sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py")):
    ROOMS.setdefault(_room(_path), []).append(_path)


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring of a file, including those after a constant or a field."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.lstrip()


@pytest.mark.parametrize("room", ROOMS)
def test_no_docstring_begins_without_a_subject(room: str) -> None:
    """No docstring of a room begins with a word such as "Of", "Who" or "What", which would leave out its subject
    or verb.
    """
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in ROOMS[room]
        for line, text in _docstrings(path)
        if HEADLESS.match(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", ROOMS)
def test_retired_phrases_stay_away(room: str) -> None:
    """No file of a room contains a rare phrase for which the house style has a common word."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in ROOMS[room]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if RETIRED.search(line)
    ]
    assert found == []
