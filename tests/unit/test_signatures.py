"""Calls say what their values mean: beyond four positional parameters, the rest is named or a frozen value."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.unit.sources import ROOT

TREES = ("dispatcher", "actors", "serve_app", "cluster", "benchmarks", "handbook")
WIDTH_MAX = 4

EXEMPT = {("dispatcher/templates/filters.py", "_truncate")}
"""Jinja's own filter, whose templates pass five values by position."""


def _wide(name: str, source: str) -> Iterator[str]:
    """Yield the functions and lambdas of a file that take too many values by position."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        found = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
        own = getattr(node, "name", "lambda")
        width = len(found) - (found[:1] in (["self"], ["cls"]))
        if width > WIDTH_MAX and (name, own) not in EXEMPT:
            yield f"{name}:{node.lineno}: {own} takes {width}"


@pytest.mark.parametrize("tree", TREES)
def test_nothing_takes_more_than_four_values_by_position(tree: str) -> None:
    """A reader of a call with nine values cannot see which is which."""
    files = sorted((ROOT / tree).rglob("*.py"))
    assert [line for f in files for line in _wide(str(f.relative_to(ROOT)), f.read_text())] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(a, b, c, d): ...", 0),
        ("def f(a, b, c, d, e): ...", 1),
        ("def f(a, b, c, d, *, e): ...", 0),
        ("class C:\n    def f(self, a, b, c, d): ...", 0),
        ("f = lambda a, b, c, d, e: 0", 1),
    ],
)
def test_the_check_counts_what_is_given_by_position(source: str, found: int) -> None:
    """A named parameter costs nothing, nor does `self`."""
    assert len(list(_wide("f.py", source))) == found


def test_an_exemption_is_needed() -> None:
    """An exemption of a function that is gone would hide the next one of that name."""
    for name, own in EXEMPT:
        assert f"def {own}(" in (ROOT / name).read_text()
