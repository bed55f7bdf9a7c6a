"""Prints figures and writes them as JSON, with the machine, the commit, the versions and the spread.

A figure of one run may be chance, and a figure without its machine cannot be compared. So a result file holds both. A
figure that was measured several times is kept as its median with the least and the greatest.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import click

from benchmarks import plots
from cluster.rehearsal.provenance import PACKAGES, environment

FOLDER = plots.FOLDER
BRIEF = FOLDER / "brief"
"""`make bench` without FULL=1 writes to this folder, which git ignores. So a brief run never replaces a full
run's figures.
"""

Function = TypeVar("Function", bound=Callable[..., Any])


def options(function: Function) -> Function:
    """Add the options that every benchmark has: `--quick` and `--results`."""
    quick = click.option("--quick", is_flag=True, help="small sizes: does it run at all? The figures mean nothing")
    folder = click.Path(file_okay=False, path_type=Path)
    results = click.option("--results", "results_", type=folder, help="folder for the JSON files")
    decorated: Function = quick(results(function))
    return decorated


class Spread(TypedDict):
    """The median, the least and the greatest of repeated runs, and the runs themselves."""

    median: float
    min: float
    max: float
    all: list[float]


def spread(values: Sequence[float], digits: int = 3) -> Spread:
    """Return the median, the least and the greatest of repeated runs, and the runs themselves."""
    runs = [round(value, digits) for value in values]
    return {"median": round(statistics.median(values), digits), "min": min(runs), "max": max(runs), "all": runs}


def report(
    name: str, figures: Mapping[str, Any], folder: Path | None, quick: bool, *, packages: Sequence[str] = PACKAGES
) -> Path | None:
    """Write the figures to `{name}.json`, and a chart if matplotlib is installed. Return the path of the JSON file.

    The figures of a `quick` run mean nothing. So they are written only if a `folder` is given. Without a folder,
    nothing is written and None is returned.
    """
    if folder is None and quick:
        return None
    folder = folder or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    body = {
        "benchmark": name,
        "quick": quick,
        "arguments": sys.argv[1:],
        "environment": environment(packages),
        "figures": figures,
    }
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n")
    click.echo(f"written: {path}")
    if plots.can_draw() and (chart := plots.draw(path)) is not None:
        click.echo(f"written: {chart}")
    return path


def read(name: str, folder: Path | None = None) -> Mapping[str, Any]:
    """Return the whole result file of an earlier run, by the benchmark's name."""
    found: Mapping[str, Any] = json.loads(((folder or FOLDER) / f"{name}.json").read_text())
    return found


def convict(rows: Iterable[Mapping[str, Any]]) -> None:
    """Raise ClickException if anything was lost, or was repeated with no unknown outcome to explain it.

    Each row holds `lost` and `unexplained`, as a number, or as the `Spread` of several
    runs. Call this last, after the figures were written.
    """
    found = {"lost": 0, "unexplained": 0}
    for row in rows:
        for name in found:
            value = row.get(name, 0)
            found[name] += round(sum(value["all"]) if isinstance(value, Mapping) else value)
    if any(found.values()):
        raise click.ClickException(
            f"lost {found['lost']}, repeated without an unknown outcome that explains it {found['unexplained']}"
        )


def spreads(rows: Sequence[Mapping[str, float]], digits: int = 3) -> dict[str, Spread]:
    """Return the spread of each figure over repeated runs. Each row holds the figures of one run."""
    return {name: spread([row[name] for row in rows], digits) for name in rows[0]}


def spread_table(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the median, the least and the greatest of each figure."""
    table([["", "median", "least", "most"], *([n, f["median"], f["min"], f["max"]] for n, f in figures.items())])


def table(rows: Sequence[Sequence[Any]]) -> None:
    """Print rows in columns. The first row is the heading."""
    texts = [[f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[n]) for row in texts) for n in range(len(texts[0]))]
    for row in texts:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
