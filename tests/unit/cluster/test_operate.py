"""The operators' commands accept their own options, and an error of the service says what to do at the terminal."""

from __future__ import annotations

import inspect
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from cluster.cli.api import Api
from cluster.cli.main import main


def remote_commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from remote_commands(command, f"{path}{name} ")
        elif {"url", "key"} <= {option.name for option in command.params}:
            yield f"{path}{name}", command


class Shown(io.BytesIO):
    """The body of an answer, and its headers."""

    headers = Message()


def answered(
    monkeypatch: pytest.MonkeyPatch, *words: str, status: int = 200, body: Any, missing: str | None = None
) -> Result:
    """Run the command `words` against a service that answers every call with `status` and `body`.

    `missing` is the header that names the cells that the answer lacks.
    """

    def answer(_: Api, request: urllib.request.Request) -> Shown:
        shown = Shown(json.dumps(body).encode())
        if missing is not None:
            shown.headers = Message()
            shown.headers["Dispatcher-Missing-Cells"] = missing
        if status >= 400:
            raise urllib.error.HTTPError(request.full_url, status, "", Message(), shown)
        return shown

    monkeypatch.setattr(Api, "_open", answer)
    return CliRunner().invoke(main, [*words])


@pytest.mark.parametrize("command", [pytest.param(command, id=path) for path, command in remote_commands(main)])
def test_each_command_that_asks_the_service_accepts_what_it_is_given(command: click.Command) -> None:
    """Each command's function can be called with an `Api` and then with all of the command's options by their names."""
    options = {option.name: None for option in command.params if option.name not in ("url", "key", "ca_file")}
    function = inspect.unwrap(command.callback)  # type: ignore[arg-type]
    inspect.signature(function).bind(object(), **options)


def test_a_list_without_rows_prints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dispatcher list held` prints nothing and exits with 0 if the service has no such notification."""
    result = answered(monkeypatch, "list", "held", body={"notifications": [], "cursor": None})
    assert (result.exit_code, result.output) == (0, "")


def test_a_missing_cell_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """If an answer lacks a cell, the command warns about it and shows what the others have."""
    result = answered(monkeypatch, "list", "held", body={"notifications": [], "cursor": None}, missing="1,3")
    assert result.exit_code == 0
    assert result.output == "WARNING: without cell 1,3, which is away\n"


def test_plans_of_several_cells_name_their_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """With several cells, `dispatcher plan` names the cell of each plan, and `dispatcher status` shows all plans."""
    rows = [{"epoch": 7, "at_ms": 0, "reason": "why", "cell": "1"}]
    assert answered(monkeypatch, "plan", body={"history": rows}).output.startswith("cell 1      7 ")
    plans = {cell: {"epoch": 4, "reason": "first plan"} for cell in "01"}
    health = {"version": "1", "ingress": "haproxy", "warnings": [], "vendors": []}
    result = answered(monkeypatch, "status", body={**health, "plan": plans["0"], "plans": plans})
    assert "haproxy, cell 0 plan 4 (first plan), cell 1 plan 4 (first plan)" in result.output


def test_a_refused_key_says_where_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a 401, the command adds that the key is given as --key or in $DISPATCHER_KEY."""
    body = {"title": "An API key is needed", "detail": "Authorization: Bearer KEY"}
    result = answered(monkeypatch, "vendors", status=401, body=body)
    assert result.exit_code == 1
    assert (
        "401 An API key is needed: Authorization: Bearer KEY. Give it as --key or in $DISPATCHER_KEY" in result.output
    )
