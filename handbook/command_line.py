"""Prints the reference of the command line, as Markdown, from click's own commands.

python -m handbook.command_line
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import click

from cluster.cli.main import main as program


def reference(name: str, command: click.Command) -> str:
    """Return a section for `command` and for each command below it, in alphabetical order."""
    return "\n\n".join(_sections(name, command, None))


def _sections(name: str, command: click.Command, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
    if parent is not None:
        yield section(name, command, context)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            below = command.get_command(context, child)
            assert below is not None
            yield from _sections(f"{name} {child}", below, context)


def section(name: str, command: click.Command, context: click.Context) -> str:
    """Return the section of one command: usage, what it does, arguments and options."""
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    lines = [f"### {name}", "", f"`{usage}`", "", inspect.cleandoc(command.help or "")]
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    if options:
        lines += ["", "| option | value | default | meaning |", "|---|---|---|---|"]
        lines += [_row(option, context) for option in options]
    return "\n".join(lines)


def _row(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    meaning = " ".join((option.help or "").split())
    if option.envvar and f"${option.envvar}" not in meaning:
        meaning = f"{meaning}{'; ' if meaning else ''}also ${option.envvar}"
    cells = (names, _value(option, context), "**required**" if option.required else _default(option), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(option: click.Option, context: click.Context) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    many = ", repeatable" if option.multiple else ""
    return f"{option.make_metavar(context)}{many}".lower()


def _default(option: click.Option) -> str:
    """Return the default of an option, or an empty text.

    The text is empty for a flag, and for a default that is computed and so may differ between processes.
    """
    value: Any = option.to_info_dict()["default"]
    if option.is_flag or value in (None, (), [], "", False) or callable(value):
        return ""
    return f"`{option.default}`"


@click.command(help=__doc__)
def main() -> None:
    click.echo(reference("dispatcher", program))


if __name__ == "__main__":
    main()
