"""Writes the measured costs into one profile for `dispatcher capacity`: cluster/capacity/profile.json.

    python -m benchmarks.profile

This module measures nothing itself. It reads what accept_latency and growth wrote, and notes the commit of each. The
CPU cost of a part is a line: the cores that it uses at any rate, plus a CPU time for each trigger. The line is fitted
by least squares to the rates that accept_latency sustained, with healthy vendors and without an additional actor. The
profile also holds the largest error of a line at its own points, and the error that `benchmarks.model_check` finds at
other rates. With `--results` the file is written to that folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks import model_check, results
from benchmarks.whole_service import INTAKE_REPLICAS, MESSAGES, VENDOR_ACTORS
from cluster.capacity.profile import PACKAGED
from dispatcher.core.json_object import JsonObject

SOURCES = ("accept_latency", "growth")
PARTS = ("intake", "haproxy", "vendors", "supervisor", "ray", "redis")


@dataclass(frozen=True, slots=True)
class Line:
    """The CPU cost of one part of the service, such as intake, as a straight line over the rate.

    The part uses `cores` even when it is idle, plus `ms` of CPU time for each trigger. `error_percent` is the largest
    error of the line at the points to which it was fitted.
    """

    cores: float
    ms: float
    error_percent: float


def profile(sources: Mapping[str, Mapping[str, Any]]) -> JsonObject:
    """Return the costs per trigger and per notification, and what each process costs even without triggers.

    CPU costs come from the whole service under load. If a cost was measured for stores of several sizes, the largest
    store counts, because `dispatcher capacity` plans for large loads.
    """
    accepts, growth = (sources[name]["figures"] for name in SOURCES)
    fitted = sustained(accepts["conditions"].values())
    line = {part: fit([point(c, part) for c in fitted]) for part in PARTS}
    accepted_ms = growth["backlog"][max(growth["backlog"], key=int)]["accept_redis_cpu_ms"]["median"]
    accepted_ms = min(accepted_ms, line["redis"].ms)  # measured in another run, a part may seem larger than the whole
    return {
        "intake_cores_idle": round(line["intake"].cores / INTAKE_REPLICAS, 4),
        "intake_cpu_ms_per_trigger": line["intake"].ms,
        "ingress_cores_idle": line["haproxy"].cores,
        "ingress_cpu_ms_per_trigger": line["haproxy"].ms,
        "vendor_cores_idle": round(line["vendors"].cores / VENDOR_ACTORS, 4),
        "dispatch_cpu_ms_per_notification": round(line["vendors"].ms / MESSAGES, 4),
        "supervisor_cores_idle": line["supervisor"].cores,
        "supervisor_cpu_ms_per_trigger": line["supervisor"].ms,
        "ray_cores_idle": line["ray"].cores,
        "ray_cpu_ms_per_trigger": line["ray"].ms,
        "redis_cores_idle": line["redis"].cores,
        "redis_cpu_ms_per_trigger_accepted": round(accepted_ms, 4),
        "redis_cpu_ms_per_notification_delivered": round((line["redis"].ms - accepted_ms) / MESSAGES, 4),
        **sizes(growth["bytes"]),
        "fitted_per_s": sorted(float(c["rate_per_s"]) for c in fitted),
        "fit_error_percent": {part: line[part].error_percent for part in PARTS},
        "machine": sources["accept_latency"]["environment"]["machine"],
        "python": sources["accept_latency"]["environment"]["python"],
        "commits": {name: sources[name]["environment"]["commit"] for name in SOURCES},
    }


def sizes(measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the bytes that one notification takes in memory and on disk, by the field names of the profile.

    `measured` maps a number of notifications to the bytes measured with that many. The largest number counts.
    """

    def largest(name: str) -> float:
        return measured[max((n for n in measured if name in measured[n]), key=int)][name]

    return {
        "queued_bytes_per_notification": largest("queued"),
        "retained_bytes_per_notification": largest("retained"),
        "aof_written_bytes_per_notification": largest("aof_written"),
        "aof_kept_bytes_per_notification_queued": largest("aof_kept_queued"),
        "aof_kept_bytes_per_notification_retained": largest("aof_kept_retained"),
    }


def sustained(conditions: Any) -> list[Mapping[str, Any]]:
    """Return the conditions with healthy vendors that were sustained in every round, with the least vendor actors.

    The CPU that an overload uses is not a cost, and the model needs to know how many actors shared the work. Raises
    ClickException if there are fewer than two such rates.
    """
    found = [c for c in conditions if c["vendors"] == "healthy" and c["sustained"]["min"] == 1.0]
    found = [c for c in found if c.get("vendor_actors", {"max": VENDOR_ACTORS})["max"] == VENDOR_ACTORS]
    if len({c["rate_per_s"] for c in found}) < 2:
        rates = ", ".join(f"{c['rate_per_s']:g}" for c in found) or "none"
        raise click.ClickException(
            f"accept_latency: a line needs two rates that were sustained, and it has {rates}; "
            "measure lower ones too: python -m benchmarks.accept_latency --rate 58 --rate 116"
        )
    return found


def point(condition: Mapping[str, Any], part: str) -> tuple[float, float]:
    """Return two means: the triggers a second, and the cores that `part` used.

    Both are taken over the time for which CPU was counted, which is longer than the time in which triggers were posted.
    """
    seconds = float(condition["metered_s"]["median"])
    triggers = float(condition["triggers"])
    return triggers / seconds, triggers * float(condition[f"cpu_ms_per_trigger_{part}"]["median"]) / 1000 / seconds


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """Return the line of least squares through `points`. A point is (triggers a second, cores).

    The line says how many cores are busy without load, and how much CPU time each trigger costs. Neither value is
    negative. If the best line has a negative value, this value becomes 0, and the line is fitted again with only the
    other value free.
    """
    count = len(points)
    rate_mean, cores_mean = (sum(values) / count for values in zip(*points, strict=True))
    each = sum((r - rate_mean) * (c - cores_mean) for r, c in points) / sum((r - rate_mean) ** 2 for r, _ in points)
    idle = cores_mean - each * rate_mean
    if idle < 0:
        idle, each = 0.0, sum(r * c for r, c in points) / sum(r * r for r, _ in points)
    elif each < 0:
        idle, each = cores_mean, 0.0
    missed = max((abs(idle + each * r - c) / c for r, c in points if c), default=0.0)
    return Line(round(idle, 4), round(each * 1000, 4), round(100 * missed, 1))


@click.command(help=__doc__)
@results.options
def main(quick: bool, results_: Path | None) -> None:
    if quick:
        click.echo("figures of a quick run mean nothing, so there is no profile of them")
        return
    folder = results_ or results.FOLDER
    missing = [name for name in SOURCES if not (folder / f"{name}.json").exists()]
    if missing:
        raise click.ClickException(f"run first: {', '.join(missing)}")
    found = profile({name: results.read(name, folder) for name in SOURCES})
    found["error_percent"] = model_check.error_percent(found, folder)
    place = PACKAGED if results_ is None else folder / PACKAGED.name
    place.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    for name, value in found.items():
        click.echo(f"{name:44} {value}")


if __name__ == "__main__":
    main()
