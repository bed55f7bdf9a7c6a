"""Operators' commands answer a wrong input with one sentence, and take a key wherever they take an id."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner

from cluster.cli import operate
from cluster.cli.main import main


@pytest.mark.parametrize(
    "words",
    [("templates", "put", "receipt", "FILE"), ("templates", "preview", "receipt", "--data", "{"), ("send", "FILE")],
)
def test_what_is_no_json_is_one_sentence(words: tuple[str, ...], tmp_path: Path) -> None:
    """It names where the text came from, and nothing is sent."""
    (tmp_path / "t.json").write_text("Dear {{ name }}")
    given = [str(tmp_path / "t.json") if word == "FILE" else word for word in words]
    with mock.patch.object(operate.Api, "call") as call:
        done = CliRunner().invoke(main, given)
    assert done.exit_code == 1 and not call.called
    (line,) = done.output.splitlines()
    assert "is not JSON" in line and (given[-1] if "FILE" in words else "--data") in line


def test_an_order_is_cancelled_by_its_key() -> None:
    """`cancel` accepts a key in place of an id, as `show` does."""
    asked: list[tuple[str, str]] = []

    def call(self: Any, method: str, path: str, *_: Any) -> Any:
        asked.append((method, path))
        return {"id": "0-abc"}

    with mock.patch.object(operate.Api, "call", call):
        assert CliRunner().invoke(main, ["cancel", "key:ORDER 1"]).exit_code == 0
    assert asked == [("GET", "/v1/triggers?idempotency_key=ORDER%201"), ("POST", "/v1/triggers/0-abc/cancel")]
