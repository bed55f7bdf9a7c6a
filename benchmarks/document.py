"""Puts the output of commands into the documents of docs/, so that these show the latest measurements and options.

    python -m benchmarks.document

A block of a document begins with `<!-- printed by: COMMAND -->` and ends with `<!-- end -->`. The text between them is
replaced by the output of the command. A test fails if a block differs from the output.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

import click
from click.testing import CliRunner

from benchmarks import cluster_table, drill_table, measured_table, model_check, replacement_tables
from cluster.capacity.estimate import capacity
from cluster.rehearsal.provenance import ROOT
from handbook import command_line, configuration

NAMES = ("benchmarks", "drills", "capacity", "configuration", "cli")
DOCUMENTS = tuple(ROOT / "docs" / f"{name}.md" for name in NAMES)
COMMANDS = {
    "dispatcher capacity": capacity,
    "python -m benchmarks.model_check": model_check.main,
    "python -m benchmarks.cluster_table": cluster_table.main,
    "python -m benchmarks.drill_table": drill_table.main,
    "python -m benchmarks.replacement_tables": replacement_tables.main,
    "python -m benchmarks.measured_table": measured_table.main,
    "python -m handbook.configuration": configuration.main,
    "python -m handbook.command_line": command_line.main,
}
MARKDOWN = ("--markdown", "cluster_table", "drill_table", "replacement_tables", "measured_table", "handbook.")
BLOCK = re.compile(
    r"(?P<begin><!-- printed by: (?P<command>[^\n]*) -->\n)(?P<text>.*?)(?P<end>\n<!-- end -->)", re.DOTALL
)


def printed(command: str) -> str:
    """Return what `command` prints, in a code block unless the output is Markdown. Raises ClickException if it
    fails.
    """
    name = next((name for name in COMMANDS if command.startswith(name)), None)
    if name is None:
        raise click.ClickException(f"{command!r} is none of {', '.join(COMMANDS)}")
    done = CliRunner().invoke(COMMANDS[name], shlex.split(command.removeprefix(name)))
    if done.exit_code != 0:
        raise click.ClickException(f"{command}: {done.exception or done.output}")
    text = done.output.strip()
    return text if any(name in command for name in MARKDOWN) else f"```console\n$ {command}\n{text}\n```"


def renewed(document: str, answer: Callable[[str], str] = printed) -> str:
    """Return the document with each block replaced by what its command prints now. `answer` runs a command."""
    return BLOCK.sub(lambda block: block["begin"] + answer(block["command"]) + block["end"], document)


@click.command(help=__doc__)
def main() -> None:
    for document in DOCUMENTS:
        document.write_text(renewed(document.read_text()))
        click.echo(f"written: {document}")


if __name__ == "__main__":
    main()
