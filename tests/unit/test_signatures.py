"""Checks that functions can be read at once: they have at most four positional parameters and at most 40 lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.unit.sources import ROOT

TREES = ("dispatcher", "actors", "serve_app", "cluster", "benchmarks", "handbook")
WIDTH_MAX = 4

EXEMPT = {("dispatcher/templates/filters.py", "_truncate")}
"""Jinja's own filter, whose templates pass five values by position."""

LINES_MAX = 40

LONG = {
    ("dispatcher/supervise/supervisor.py", "__init__"): "one line for each field of the supervisor's memory",
    ("dispatcher/deliver/courier.py", "__init__"): "one line for each field of the courier's memory",
    ("cluster/rehearsal/drills/command.py", "drill"): "its parameters and its docstring are the command's help",
    ("benchmarks/dispatch_workers.py", "floor"): "a worker to compare with, whole, so that its cost can be read",
}
"""The functions that stay longer, each with its reason."""


def _long(name: str, source: str) -> Iterator[str]:
    """Yield the functions of a file that have too many lines, counted from `def` to the last line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LINES_MAX and (name, node.name) not in LONG:
                yield f"{name}:{node.lineno}: {node.name} has {lines} lines"


def _wide(name: str, source: str) -> Iterator[str]:
    """Yield the functions and lambdas of a file that have too many positional parameters."""
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
    """No function has more than four positional parameters, because in a call with nine values a reader cannot see
    which is which.
    """
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
    """The check counts positional parameters, and neither keyword-only parameters nor `self`."""
    assert len(list(_wide("f.py", source))) == found


@pytest.mark.parametrize("tree", TREES)
def test_no_function_has_more_than_forty_lines(tree: str) -> None:
    """No function has more than 40 lines, because a longer function does several things that deserve names of
    their own.
    """
    files = sorted((ROOT / tree).rglob("*.py"))
    assert [line for f in files for line in _long(str(f.relative_to(ROOT)), f.read_text())] == []


@pytest.mark.parametrize(("lines", "found"), [(39, 0), (40, 1)])
def test_the_check_counts_the_lines_of_a_function(lines: int, found: int) -> None:
    """The check counts all lines of a function with its `def`, also of methods and nested functions."""
    body = "    x = 1\n" * lines
    assert len(list(_long("f.py", f"async def f():\n{body}"))) == found
    assert len(list(_long("f.py", "class C:\n  def f(self):\n" + body))) == found


def test_a_long_function_is_still_there_and_still_long() -> None:
    """Each function in `LONG` exists and is still too long.

    An exemption without need would hide a later long function of that name.
    """
    for (name, own), reason in LONG.items():
        nodes = ast.walk(ast.parse((ROOT / name).read_text()))
        found = [n for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and n.name == own]
        assert reason
        assert any((n.end_lineno or 0) - n.lineno >= LINES_MAX for n in found), (name, own)


def test_an_exemption_is_needed() -> None:
    """Each function in `EXEMPT` exists.

    If a function is deleted, its name must leave `EXEMPT`. Otherwise a new function with the same name could have too
    many parameters, and no test would find it.
    """
    for name, own in EXEMPT:
        assert f"def {own}(" in (ROOT / name).read_text()
