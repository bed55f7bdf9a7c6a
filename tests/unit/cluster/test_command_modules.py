"""Tests that the program `dispatcher` finds the commands whose code is in other modules."""

from __future__ import annotations

import click
import pytest

from cluster.cli.main import ELSEWHERE, main

COMMANDS = {name: main.get_command(click.Context(main), name) for name in ELSEWHERE}
"""Loaded here, because the module of `drill` asks git for the commit, and a unit test may not start a process."""


@pytest.mark.parametrize("name", ELSEWHERE)
def test_each_command_of_the_table_has_that_name(name: str) -> None:
    """Each command of the table is found, has a help text, and has the name that the table gives it.

    The sandbox's command has the name `main`, because it is a program of its own too.
    """
    command = COMMANDS[name]
    assert command is not None
    assert command.name == {"sandbox": "main"}.get(name, name)
    assert command.get_short_help_str()


def test_a_command_is_listed_once() -> None:
    names = main.list_commands(click.Context(main))
    assert names == sorted(set(names))
