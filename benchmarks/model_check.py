"""How far is `dispatcher capacity` off, at loads its costs were not taken from?

    python -m benchmarks.model_check

Measures nothing. The model's costs come from accept_latency and growth (`benchmarks.profile`). Here they
predict what two other benchmarks found: the CPU of intake, HAProxy and vendor actors, and of Redis, at each rate that
end_to_end sustained, and what a trigger left in Redis in the soak. Writes results/model_check.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks import results
from benchmarks.profile import INTAKE_REPLICAS, MESSAGES, VENDOR_ACTORS
from cluster.capacity import OURS, Profile, cores_used

SOURCES = ("end_to_end", "soak")

Point = dict[str, Any]


def points(profile: Profile, end_to_end: Mapping[str, Any], soak: Mapping[str, Any]) -> list[Point]:
    """Each measured figure beside the model's, and the model's error in percent of what was measured."""
    found = [point for row in end_to_end["rates"] if row["sustained"] for point in _cpu(profile, row)]
    modelled = MESSAGES * profile.retained_bytes_per_notification
    found.append(_point("soak", "Redis bytes a trigger", modelled, soak["redis_bytes_per_trigger"]))
    return found


def _cpu(profile: Profile, row: Mapping[str, Any]) -> Iterator[Point]:
    rate, used = float(row["rate_per_s"]), row["cpu_ms_per_trigger"]
    where = f"end_to_end, {rate:g}/s"
    cores = cores_used(rate, MESSAGES, INTAKE_REPLICAS, VENDOR_ACTORS, profile)
    for what, parts in (("cores, ours", OURS), ("cores, Redis", ("redis",))):
        measured = rate * sum(used[part] for part in parts) / 1000
        yield _point(where, what, sum(cores[part] for part in parts), measured)


def _point(where: str, what: str, modelled: float, measured: float) -> Point:
    return {
        "where": where,
        "what": what,
        "modelled": round(modelled, 3),
        "measured": round(measured, 3),
        "error_percent": round(100 * (modelled / measured - 1), 1),
    }


@click.command(help=__doc__)
@results.options
def main(quick: bool, results_: Path | None) -> None:
    folder = results_ or results.FOLDER
    missing = [name for name in ("profile", *SOURCES) if not (folder / f"{name}.json").exists()]
    if missing:
        if quick:
            click.echo("nothing was written, so there is nothing to check")
            return
        raise click.ClickException(f"run first: {', '.join(missing)}")
    end_to_end, soak = (results.read(name, folder)["figures"] for name in SOURCES)
    found = points(Profile.parse(results.read("profile", folder)), end_to_end, soak)
    results.table([list(found[0]), *(list(point.values()) for point in found)])
    results.report("model_check", {"points": found}, results_, quick)


if __name__ == "__main__":
    main()
