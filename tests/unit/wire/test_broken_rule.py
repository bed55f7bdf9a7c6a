"""Checks the rules in errors for callers. Each rule continues a sentence that begins with the field's name."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from dispatcher.errors import CallerError
from dispatcher.wire.trigger import TriggerRequest, read_trigger
from tests.unit.sources import ROOT

VERBS = ("must", "is", "was", "has", "cannot")


def written_rules() -> Iterator[tuple[str, str]]:
    """Yield place and text of each rule in a `CallerError(field, "…")` of the program."""
    for tree in ("dispatcher", "serve_app"):
        for path in sorted((ROOT / tree).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "CallerError":
                    rule = node.args[1]
                    start = rule.values[0] if isinstance(rule, ast.JoinedStr) else rule
                    if isinstance(start, ast.Constant):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", str(start.value)


def test_each_rule_begins_with_its_verb() -> None:
    """Each rule begins with a verb, so that `recipient.phone: must be …` is a sentence."""
    rules = dict(written_rules())
    assert len(rules) > 40
    assert [f"{at}: {rule}" for at, rule in rules.items() if rule.split()[0] not in (*VERBS, "template")] == []


def test_an_unknown_field_that_could_be_an_address_is_not_named() -> None:
    """An unknown field whose name may be an address is not named in the error, because errors get into logs."""
    with pytest.raises(CallerError) as caught:
        read_trigger({"event": "x", "ada@example.com": 1})
    assert str(caught.value) == "body: must contain known fields only"


def test_each_field_of_a_trigger_is_described() -> None:
    """`/openapi.json` describes each field in a sentence, except the channel, whose name says it all."""
    schema = TriggerRequest.model_json_schema()
    models = {"TriggerRequest": schema, **schema["$defs"]}
    bare = {
        f"{model}.{name}"
        for model, one in models.items()
        for name, field in one.get("properties", {}).items()
        if not str(field.get("description", "")).endswith(".")
    }
    assert bare == {"NotificationRequest.channel"}
