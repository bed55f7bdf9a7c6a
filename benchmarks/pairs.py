"""Compares this working copy with a working copy of another commit: how long a trigger waits for its 202, and how much
CPU it costs.

    git worktree add ../before COMMIT && make -C ../before setup
    python -m benchmarks.pairs ../before [--pairs 5] [--rate 116] [--seconds 20]

The two copies are measured in one run, in pairs. For each pair, the whole service of one copy runs first, and then the
whole service of the other copy. Each copy has its own interpreter and packages, and runs its own
`benchmarks.accept_latency` with healthy vendors. The copy that goes first alternates, so that neither copy always has
the quieter half.

Prints the p50 and p99 of an accept in ms, and the CPU of a trigger in ms, without the client and the vendors. For each
copy, these are the median and the spread of its runs. The ratio is the figure of this copy ÷ the figure of the other
copy, as median and spread over the pairs. To compare the CPU of a dispatch, use `benchmarks.dispatch_cost --against
DIR`.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import click

from benchmarks import results
from cluster.rehearsal.provenance import ROOT

SERVICE = ("intake", "haproxy", "vendors", "supervisor", "redis", "ray")
FIGURES = ("accept_ms_p50", "accept_ms_p99", "cpu_ms_per_trigger")
RUN_S_MAX = 300.0


def read(condition: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of one condition that two versions are compared by. `condition` comes from a result file of
    accept_latency.
    """
    cpu = sum(condition[f"cpu_ms_per_trigger_{part}"]["median"] for part in SERVICE)
    return {
        "accept_ms_p50": condition["accept_ms_p50"]["median"],
        "accept_ms_p99": condition["accept_ms_p99"]["median"],
        "cpu_ms_per_trigger": cpu,
    }


def run(checkout: Path, rate: float, seconds: float) -> dict[str, float]:
    """Measure the working copy `checkout` once and return its figures.

    Raises ClickException with the end of the output if the measurement fails.
    """
    with tempfile.TemporaryDirectory(prefix="nd-pair-") as folder:
        options = ["--rate", f"{rate:g}", "--vendors", "healthy", "--rounds", "1", "--steps", "0"]
        options += ["--seconds", f"{seconds:g}", "--results", folder]
        python = checkout / ".venv" / "bin" / "python"
        command = [str(python), "-m", "benchmarks.accept_latency", *options]
        ended = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=RUN_S_MAX)
        if ended.returncode:
            said = (ended.stdout + ended.stderr)[-2000:]
            raise click.ClickException(f"{checkout}: accept_latency ended with {ended.returncode}\n{said}")
        body = json.loads((Path(folder) / "accept_latency.json").read_text())
    (condition,) = body["figures"]["conditions"].values()
    return {**read(condition), "first_try_percent": condition["first_try_percent"]["median"]}


class Comparison(TypedDict):
    """The comparison of one figure between two working copies: the spread of its values in each copy, and the spread of
    its ratios. Each ratio is the figure of this copy divided by that of the other copy, in one pair of runs.
    """

    ours: results.Spread
    other: results.Spread
    ratio: results.Spread


def compared(ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]) -> dict[str, Comparison]:
    """Return each figure's spread in our copy, its spread in the other copy, and the spread of the ratios of pairs.

    A ratio is our figure divided by the other copy's figure of the same pair.
    """
    pairs = list(zip(ours, theirs, strict=True))
    return {
        figure: {
            "ours": results.spread([one[figure] for one in ours]),
            "other": results.spread([one[figure] for one in theirs]),
            "ratio": results.spread([one[figure] / other[figure] for one, other in pairs]),
        }
        for figure in FIGURES
    }


@click.command(help=__doc__)
@click.argument("other", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@click.option("--pairs", default=5, show_default=True, type=click.IntRange(1))
@click.option("--rate", default=116.0, show_default=True, help="triggers a second")
@click.option("--seconds", default=20.0, show_default=True, help="of load in each run")
@click.option(
    "--results", "results_", type=click.Path(file_okay=False, path_type=Path), help="folder for the JSON file"
)
def main(other: Path, *, pairs: int, rate: float, seconds: float, results_: Path | None) -> None:
    if not (other / ".venv" / "bin" / "python").exists():
        raise click.ClickException(f"{other} has no .venv: run `make setup` there")
    measured: dict[Path, list[dict[str, float]]] = {ROOT: [], other: []}
    for n in range(pairs):
        for checkout in (ROOT, other) if n % 2 == 0 else (other, ROOT):
            found = run(checkout, rate, seconds)
            measured[checkout].append(found)
            shown = ", ".join(f"{name} {value:.3g}" for name, value in found.items())
            click.echo(f"pair {n + 1}, {'ours ' if checkout == ROOT else 'other'}: {shown}")
    figures = compared(measured[ROOT], measured[other])
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=other, capture_output=True, text=True)
    rows: list[list[Any]] = [["", "ours", "other", "ratio", "least", "most"]]
    for figure, both in figures.items():
        ratio = both["ratio"]
        rows.append(
            [figure, both["ours"]["median"], both["other"]["median"], *(ratio[k] for k in ("median", "min", "max"))]
        )
    results.table(rows)
    if results_ is not None:
        results.report("pairs", {"other": commit.stdout.strip(), "rate_per_s": rate, **figures}, results_, quick=False)


if __name__ == "__main__":
    main()
