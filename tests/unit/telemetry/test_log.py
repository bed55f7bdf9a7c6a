"""Checks that each field of every log call is in the list of fields that the log writes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.telemetry.log import ALLOWED
from tests.unit.sources import FILES, ROOT


def fields(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (event, field) for each keyword of a log call in the file: `logger().…(event, field=…)`, or the same
    with `log`.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
            continue
        of = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        name = of.func if isinstance(of, ast.Call) else of
        if isinstance(name, ast.Name) and name.id in ("logger", "log"):
            yield from ((str(node.args[0].value), keyword.arg or "**") for keyword in node.keywords)


def test_no_log_call_gives_a_field_that_is_dropped() -> None:
    """Every field of a log call is in the allowed list. A field that is not in the list would be dropped silently."""
    found = {(path.relative_to(ROOT).as_posix(), *field) for path in FILES for field in fields(path)}
    assert ("dispatcher/deliver/reporter.py", "country_changed", "country") in found, "it finds what it looks for"
    assert [field for field in sorted(found) if field[2] not in ALLOWED | {"exc_info"}] == []


@pytest.mark.parametrize("field", ["phone", "email", "recipient", "data", "body", "text", "subject"])
def test_what_a_customer_wrote_is_no_field(field: str) -> None:
    assert field not in ALLOWED
