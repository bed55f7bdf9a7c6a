"""Compares `dispatcher capacity` with measurements at rates that its costs were not fitted to.

    python -m benchmarks.model_check [--markdown]

This module measures nothing itself. `benchmarks.profile` makes the model from two benchmarks. For each CPU cost it fits
a line to the CPU use at the rates that accept_latency sustained. It takes the sizes in Redis from growth.

Here the model predicts what two other benchmarks measured in other runs. For end_to_end it predicts the CPU at
sustained rates to which the lines were not fitted. For the soak it predicts the bytes that a trigger left in Redis. All
measurements are of one machine, one kind of load, and pools at their smallest sizes. Writes results/model_check.json.
`--markdown` prints its content as docs/capacity.md shows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import click

from benchmarks import results
from benchmarks.whole_service import INTAKE_REPLICAS, MESSAGES, VENDOR_ACTORS
from cluster.capacity.estimate import OURS, cores_used
from cluster.capacity.profile import PACKAGED, Profile

SOURCES = ("end_to_end", "soak")
SAME = 0.02
"""Two rates that differ by at most this share count as the same rate.

A measurement at a fitted rate would repeat the fit instead of checking it.
"""

UNCHECKED = "CPU is UNCHECKED: end_to_end sustained no rate that the lines were not fitted to."


class Point(TypedDict):
    """One measured figure beside the model's figure, and the model's error in percent of the measured one."""

    where: str
    what: str
    modelled: float
    measured: float
    error_percent: float


def points(profile: Mapping[str, Any], end_to_end: Mapping[str, Any], soak: Mapping[str, Any]) -> list[Point]:
    """Return each measured cost beside the cost that the capacity model computes for the same load.

    Each point also has the model's error, in percent of the measured cost.
    """
    costs, fitted = Profile.parse(profile), profile["fitted_per_s"]
    rows = [row for row in end_to_end["rates"] if row["sustained"] and not _fitted(row["rate_per_s"], fitted)]
    found = [point for row in rows for point in _cpu(costs, row)]
    modelled = MESSAGES * costs.retained_bytes_per_notification
    found.append(_point("soak", "Redis bytes a trigger", modelled, soak["redis_bytes_per_trigger"]))
    return found


def _fitted(rate: float, fitted: Sequence[float]) -> bool:
    return any(abs(rate / other - 1) <= SAME for other in fitted)


def _cpu(profile: Profile, row: Mapping[str, Any]) -> Iterator[Point]:
    """Yield the CPU figures that one rate of end_to_end gives, as the model predicts them and as they were measured.

    CPU was counted for a little longer than triggers were posted. So the prediction uses the triggers a second over
    this longer time.
    """
    used, seconds = row["cpu_ms_per_trigger"], row["metered_s"]
    rate = row["triggers"] / seconds
    cores = cores_used(rate, MESSAGES, INTAKE_REPLICAS, VENDOR_ACTORS, p=profile)
    for what, parts in (("cores, ours", OURS), ("cores, Redis", ("redis",)), ("cores, all", tuple(cores))):
        measured = rate * sum(used[part] for part in parts) / 1000
        yield _point(f"end_to_end, {row['rate_per_s']:g}/s", what, sum(cores[part] for part in parts), measured)


def _point(where: str, what: str, modelled: float, measured: float) -> Point:
    return {
        "where": where,
        "what": what,
        "modelled": round(modelled, 3),
        "measured": round(measured, 3),
        "error_percent": round(100 * (modelled / measured - 1), 1),
    }


def _has_cpu(found: Sequence[Point]) -> bool:
    return any(point["what"].startswith("cores") for point in found)


def error_percent(profile: Mapping[str, Any], folder: Path) -> float | None:
    """Return the largest absolute error of the CPU costs, in percent, or None if there are no figures to compare."""
    if not all((folder / f"{name}.json").exists() for name in SOURCES):
        return None
    found = points(profile, *(results.read(name, folder)["figures"] for name in SOURCES))
    return max((abs(point["error_percent"]) for point in found if point["what"].startswith("cores")), default=None)


def as_markdown(figures: Mapping[str, Any]) -> str:
    """Return the compared figures as a table, with a sentence about the rates between which the model holds."""
    lines = ["| where | what | modelled | measured | error |", "|---|---|---:|---:|---:|"]
    for p in figures["points"]:
        lines.append(
            f"| {p['where']} | {p['what']} | {p['modelled']:g} | {p['measured']:g} | {p['error_percent']:+g} % |"
        )
    if not _has_cpu(figures["points"]):
        lines += ["", UNCHECKED]
    worst = max(figures["points"], key=lambda p: float(abs(p["error_percent"])))
    fitted = figures["fitted_per_s"]
    each = [rate / figures["intake_replicas"] for rate in (min(fitted), max(fitted))]
    lines += [
        "",
        f"Largest error: {worst['error_percent']:+g} %, {worst['what']} at {worst['where']}. "
        f"The CPU lines were fitted at {', '.join(f'{rate:g}' for rate in fitted)} triggers/s and miss these by up to "
        f"{max(figures['fit_error_percent'].values()):g} %. They hold from {each[0]:.0f} to {each[1]:.0f} "
        "triggers/s for each intake replica; below and above, and on other machines, they are extrapolated.",
    ]
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--markdown", is_flag=True, help="only print what the last run wrote")
@results.options
def main(markdown: bool, quick: bool, results_: Path | None) -> None:
    folder = results_ or results.FOLDER
    if markdown:
        click.echo(as_markdown(results.read("model_check", folder)["figures"]))
        return
    if quick:
        click.echo("figures of a quick run mean nothing, so there is no profile to check")
        return
    place = PACKAGED if results_ is None else folder / PACKAGED.name
    files = [place, *(folder / f"{name}.json" for name in SOURCES)]
    missing = [file.stem for file in files if not file.exists()]
    if missing:
        raise click.ClickException(f"run first: {', '.join(missing)}")
    end_to_end, soak = (results.read(name, folder)["figures"] for name in SOURCES)
    profile = json.loads(place.read_text())
    found = points(profile, end_to_end, soak)
    results.table([list(found[0]), *(list(point.values()) for point in found)])
    if not _has_cpu(found):
        click.echo(UNCHECKED)
    figures = {
        "points": found,
        "fitted_per_s": profile["fitted_per_s"],
        "fit_error_percent": profile["fit_error_percent"],
        "intake_replicas": INTAKE_REPLICAS,
    }
    results.report("model_check", figures, results_, quick)
    if results_ is None:
        click.echo("docs/capacity.md has the figures of before until you call: python -m benchmarks.document")


if __name__ == "__main__":
    main()
