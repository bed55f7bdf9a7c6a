"""Each call for a metric names a metric that exists, and gives as many labels as the metric has."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.telemetry.catalogue import CATALOGUE
from tests.unit.sources import FILES, ROOT

KINDS = {"count": "counter", "observe": "histogram"}
BEFORE_LABELS = {"count": 1, "observe": 2}
"""The arguments before the labels: `count` has the name, `observe` has the name and the seconds."""
RECEIVERS = ("metrics", "_metrics")
DEFINITION = ROOT / "dispatcher" / "telemetry" / "metrics.py"
"""The file that defines the calls. It is left out here, because it passes names on. test_metrics.py tests it."""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call of `count` or `observe` on an object named like `metrics`, and each such call whose metric name
    begins with `dispatcher_`. A result is the function's name and the call.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in KINDS:
            continue
        of = node.func.value
        receiver = of.attr if isinstance(of, ast.Attribute) else of.id if isinstance(of, ast.Name) else ""
        if receiver in RECEIVERS or _name(node).startswith("dispatcher_"):
            yield node.func.attr, node


def _name(call: ast.Call) -> str:
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def wrong(method: str, call: ast.Call) -> str:
    """Return the rule that this call breaks, or an empty text if it breaks none. `method` is `count` or `observe`."""
    name = _name(call)
    if name not in CATALOGUE:
        return f"{name or 'a computed name'} is not in CATALOGUE"
    kind, _, labels = CATALOGUE[name]
    if kind != KINDS[method]:
        return f"{name} is a {kind}"
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        return f"the labels of {name} cannot be counted here"
    given = len(call.args) - BEFORE_LABELS[method]
    return "" if given == len(labels) else f"{name} has the labels {labels}, and {given} are given"


def wrong_gauge(call: ast.Call) -> str:
    """Return the rule that a `Gauge(name, text, labels, rows)` breaks, or an empty text if it breaks none."""
    name, _, labels, rows = call.args
    if not isinstance(name, ast.Constant) or not isinstance(labels, ast.Tuple):
        return "name and labels are not literal"
    if name.value in CATALOGUE:
        return f"{name.value} is counted, too"
    row = rows.elt if isinstance(rows, ast.ListComp) else rows.elts[0] if isinstance(rows, ast.List) else None
    if not isinstance(row, ast.Tuple) or not isinstance(row.elts[0], ast.Tuple):
        return f"the rows of {name.value} are not literal"
    given = len(row.elts[0].elts)
    return "" if given == len(labels.elts) else f"{name.value} has {len(labels.elts)} labels, and {given} are given"


def gauges(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Gauge":
            yield node


@functools.cache
def sources() -> list[tuple[Path, ast.Module]]:
    """Return every file with its syntax tree, parsed once. Parsing takes a second, which only these tests need."""
    return [(path, ast.parse(path.read_text())) for path in FILES if path != DEFINITION]


def place(path: Path, call: ast.Call) -> str:
    return f"{path.relative_to(ROOT)}:{call.lineno}"


def test_every_call_names_a_metric_and_all_its_labels() -> None:
    """No call names an unknown metric or gives another number of labels.

    A misspelt name would be missing in /metrics.
    """
    found = {place(path, call): wrong(method, call) for path, tree in sources() for method, call in calls(tree)}
    found |= {place(path, call): wrong_gauge(call) for path, tree in sources() for call in gauges(tree)}
    assert {where: rule for where, rule in found.items() if rule} == {}


def test_every_metric_is_counted_somewhere() -> None:
    """Every metric of the catalogue is counted by some call in the code.

    A metric that nobody counts would stay 0, and its alert would never fire.
    """
    counted = {_name(call) for _, tree in sources() for _, call in calls(tree)}
    assert counted == set(CATALOGUE)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('c.metrics.count("dispatcher_takes", vendor, by=3)', ""),
        ('m.observe("dispatcher_age_seconds", 0.5, channel)', ""),
        ('metrics.count("dispatcher_take", vendor)', "dispatcher_take is not in CATALOGUE"),
        ("self._metrics.count(name)", "a computed name is not in CATALOGUE"),
        ('m.count("dispatcher_age_seconds", channel)', "dispatcher_age_seconds is a histogram"),
        ('m.count("dispatcher_moves", vendor)', "dispatcher_moves has the labels ('vendor', 'to'), and 1 are given"),
        ('m.observe("dispatcher_age_seconds", 0.5)', "dispatcher_age_seconds has the labels ('channel',), and 0"),
        ('m.count("dispatcher_moves", *both)', "the labels of dispatcher_moves cannot be counted here"),
    ],
)
def test_a_wrong_call_is_found(text: str, rule: str) -> None:
    """The check reports each kind of wrong call, and accepts right ones."""
    ((method, call),) = calls(ast.parse(text))
    assert wrong(method, call).startswith(rule)
    assert bool(wrong(method, call)) is bool(rule)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('Gauge("dispatcher_waiting", "", ("place",), [((p,), n) for p, n in counts])', ""),
        ('Gauge("dispatcher_waiting", "", ("place",), [((), n)])', "dispatcher_waiting has 1 labels, and 0 are given"),
        ('Gauge("dispatcher_takes", "", (), [((), n)])', "dispatcher_takes is counted, too"),
        ('Gauge("dispatcher_waiting", "", labels, rows)', "name and labels are not literal"),
        ('Gauge("dispatcher_waiting", "", ("place",), rows)', "the rows of dispatcher_waiting are not literal"),
    ],
)
def test_a_wrong_gauge_is_found(text: str, rule: str) -> None:
    (call,) = gauges(ast.parse(text))
    assert wrong_gauge(call) == rule
