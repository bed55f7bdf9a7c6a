"""Tests that the program `dispatcher` finds the commands whose code is in other modules."""

from __future__ import annotations

from importlib import import_module

import click
import pytest

from cluster.cli.main import ELSEWHERE, main


@pytest.mark.parametrize("name", ELSEWHERE)
def test_each_command_is_where_the_table_says(name: str) -> None:
    """Each command of the table is a command of the program, and its help is shown under its own name."""
    module, attribute = ELSEWHERE[name].split(":")
    command = main.get_command(click.Context(main), name)
    assert command is getattr(import_module(module), attribute)
    assert command.get_short_help_str()


def test_a_command_is_listed_once() -> None:
    names = main.list_commands(click.Context(main))
    assert names == sorted(set(names))
