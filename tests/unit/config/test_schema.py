"""The JSON Schema that editors read is current, every sample file names it, and it agrees with the program."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from dispatcher.adapters.providers import PROVIDERS
from dispatcher.config.schema import settings_schema

CLUSTER = Path(__file__).parents[3] / "cluster"
COMMITTED = CLUSTER / "config.schema.json"
SAMPLES = [CLUSTER / "sandbox.yaml", CLUSTER / "files" / "config-1.yaml"]


def test_the_committed_schema_is_current() -> None:
    """The committed schema equals what `dispatcher config schema` prints, and is a valid JSON Schema."""
    assert json.loads(COMMITTED.read_text()) == json.loads(json.dumps(settings_schema()))
    Draft202012Validator.check_schema(settings_schema())


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_sample_names_the_schema_and_fits_it(path: Path) -> None:
    """The first line of each sample file names the schema, so that an editor finds the schema. The file is valid under
    it.
    """
    first, _, rest = path.read_text().partition("\n")
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("=")[2]).resolve() == COMMITTED.resolve()
    assert list(Draft202012Validator(settings_schema()).iter_errors(yaml.safe_load(rest))) == []


def test_no_sample_is_left_out() -> None:
    """Every YAML file of `cluster` with `vendors` at its top is in SAMPLES, except the chart's templates, which
    are not YAML yet.
    """
    found = [
        path
        for path in CLUSTER.rglob("*.yaml")
        if path.parent.name != "templates"
        for document in yaml.safe_load_all(path.read_text())
        if isinstance(document, dict) and "vendors" in document
    ]
    assert sorted(found) == sorted(SAMPLES)


@pytest.mark.parametrize(
    ("vendor", "right"),
    [
        ({"adapter": "smtp", "options": {"host": "h", "sender": "s", "port": 25}}, True),
        ({"adapter": "smtp", "options": {"host": "h", "sender": "s", "port": "${PORT}"}}, True),
        ({"adapter": "smtp", "options": {"host": "h", "sender": "s", "starttls": "file:/run/x"}}, True),
        ({"adapter": "smtp", "options": {"host": "h", "sender": "s", "port": 70000}}, False),
        ({"adapter": "smtp", "options": {"host": "h", "sender": "s", "starttls": "perhaps"}}, False),
        ({"adapter": "smtp", "options": {"host": "h"}}, False),
        ({"adapter": "smtp", "options": {"host": "h", "sender": "s", "sendr": "Shop"}}, False),
        ({"adapter": "smtp"}, False),
        ({"adapter": "smtp", "channel": "push", "options": {"host": "h", "sender": "s"}}, False),
        ({"adapter": "carrier-pigeon", "options": {}}, False),
    ],
)
def test_an_editor_marks_what_the_program_refuses(vendor: dict[str, Any], right: bool) -> None:
    """The schema checks a vendor's options by its adapter, and allows a reference in place of any option."""
    data = {"vendors": {"v": {"channel": "email", **copy.deepcopy(vendor)}}}
    assert Draft202012Validator(settings_schema()).is_valid(data) is right


def test_every_provider_has_a_shape() -> None:
    """The schema has a definition for each provider."""
    assert {f"vendor_{name}" for name in PROVIDERS} <= set(settings_schema()["$defs"])
