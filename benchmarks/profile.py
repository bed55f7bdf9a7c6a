"""The measured figures as one profile, which `dispatcher capacity` multiplies: results/profile.json.

    python -m benchmarks.profile

Measures nothing; it reads what accept_latency and growth wrote, and says from which commit each comes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks import results

SOURCES = ("accept_latency", "growth")


INTAKE_REPLICAS, VENDOR_ACTORS = 2, 4
"""Of the service that accept_latency runs."""

MESSAGES = 2
"""Notifications of each of its triggers."""


def profile(sources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Costs per trigger and per notification, and of each process at any rate.

    CPU comes from the whole service under load. Of the sizes the larger is taken: it is nearer to what is planned for.
    """
    accepts, growth = (sources[name]["figures"] for name in SOURCES)
    healthy = [c for c in accepts["conditions"].values() if c["vendors"] == "healthy"]
    line = {part: cpu_line(healthy, part) for part in ("intake", "haproxy", "vendors", "redis")}
    largest = growth["bytes"][max(growth["bytes"], key=int)]
    accepted_ms = growth["backlog"][max(growth["backlog"], key=int)]["accept_redis_cpu_ms"]["median"]
    return {
        "intake_cores_idle": round(line["intake"][0] / INTAKE_REPLICAS, 4),
        "intake_cpu_ms_per_trigger": line["intake"][1],
        "ingress_cores_idle": line["haproxy"][0],
        "ingress_cpu_ms_per_trigger": line["haproxy"][1],
        "vendor_cores_idle": round(line["vendors"][0] / VENDOR_ACTORS, 4),
        "dispatch_cpu_ms_per_notification": round(line["vendors"][1] / MESSAGES, 3),
        "redis_cores_idle": line["redis"][0],
        "redis_cpu_ms_per_trigger_accepted": accepted_ms,
        "redis_cpu_ms_per_notification_delivered": round(max(0.0, line["redis"][1] - accepted_ms) / MESSAGES, 4),
        "queued_bytes_per_notification": largest["queued"],
        "retained_bytes_per_notification": largest["retained"],
        "aof_written_bytes_per_notification": largest["aof_written"],
        "aof_kept_bytes_per_notification_queued": largest["aof_kept_queued"],
        "aof_kept_bytes_per_notification_retained": largest["aof_kept_retained"],
        "machine": sources["accept_latency"]["environment"]["machine"],
        "python": sources["accept_latency"]["environment"]["python"],
        "commits": {name: sources[name]["environment"]["commit"] for name in SOURCES},
    }


def cpu_line(conditions: Sequence[Mapping[str, Any]], part: str) -> tuple[float, float]:
    """Cores at any rate, and CPU ms a trigger on top: the line through the least and the greatest rate measured.

    The cost per trigger falls with the rate, since more of them share a round trip; that at one rate would mislead.
    """
    by_rate = {
        rate: rate * float(c[f"cpu_ms_per_trigger_{part}"]["median"]) / 1000
        for c in conditions
        for rate in [float(c["rate_per_s"])]
    }
    low, high = min(by_rate), max(by_rate)
    if low == high:
        return 0.0, round(1000 * by_rate[low] / low, 3)
    each = (by_rate[high] - by_rate[low]) / (high - low)
    return round(max(0.0, by_rate[low] - each * low), 4), round(each * 1000, 3)


@click.command(help=__doc__)
@results.options
def main(quick: bool, results_: Path | None) -> None:
    if quick and results_ is None:
        click.echo("nothing was written, so there is nothing to read")
        return
    folder = results_ or results.FOLDER
    missing = [name for name in SOURCES if not (folder / f"{name}.json").exists()]
    if missing:
        raise click.ClickException(f"run first: {', '.join(missing)}")
    found = profile({name: results.read(name, folder) for name in SOURCES})
    (folder / "profile.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    for name, value in found.items():
        click.echo(f"{name:44} {value}")


if __name__ == "__main__":
    main()
