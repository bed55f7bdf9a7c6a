"""Prints what is lost, repeated and refused when a version or a Redis server is replaced, for docs/benchmarks.md.

    python -m benchmarks.replacement_tables

This module measures nothing itself. It reads what `benchmarks.rolling_upgrade` and `benchmarks.replica_loss` wrote.
"""

from __future__ import annotations

import click

from benchmarks import replica_loss, results, rolling_upgrade
from benchmarks.measured_table import of

TABLES = {"rolling_upgrade": rolling_upgrade.table, "replica_loss": replica_loss.table}


@click.command(help=__doc__)
def main() -> None:
    for name, table in TABLES.items():
        document = results.read(name)
        click.echo(f"{table(document['figures'])}\n\nOf {of(document)}.\n")


if __name__ == "__main__":
    main()
