"""The measured figures as one profile, which `dispatcher capacity` multiplies: results/profile.json.

    python -m benchmarks.profile

Measures nothing; it reads what accept_latency, dispatch_cost and growth wrote, and says from which commit each comes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from benchmarks import results

SOURCES = ("accept_latency", "dispatch_cost", "growth")


def profile(sources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Costs per trigger and per notification. The larger of two sizes is taken: it is nearer to what is planned for."""
    accepts, dispatch, growth = (sources[name]["figures"] for name in SOURCES)
    accept = next(iter(accepts["conditions"].values()))
    largest = growth["bytes"][max(growth["bytes"], key=int)]
    ours = dispatch["subjects"]["ours"]
    backlog = growth["backlog"][max(growth["backlog"], key=int)]
    return {
        "intake_cpu_ms_per_trigger": accept["cpu_ms_per_trigger_intake"]["median"],
        "ingress_cpu_ms_per_trigger": accept["cpu_ms_per_trigger_haproxy"]["median"],
        "dispatch_cpu_ms_per_notification": ours["cpu_ms"]["median"],
        "dispatch_per_s_per_actor": ours["per_s"]["median"],
        "redis_cpu_ms_per_trigger_accepted": backlog["accept_redis_cpu_ms"]["median"],
        "redis_cpu_ms_per_notification_delivered": ours["redis_cpu_ms"]["median"],
        "queued_bytes_per_notification": largest["queued"],
        "retained_bytes_per_notification": largest["retained"],
        "aof_written_bytes_per_notification": largest["aof_written"],
        "aof_kept_bytes_per_notification_queued": largest["aof_kept_queued"],
        "aof_kept_bytes_per_notification_retained": largest["aof_kept_retained"],
        "machine": sources["dispatch_cost"]["environment"]["machine"],
        "python": sources["dispatch_cost"]["environment"]["python"],
        "commits": {name: sources[name]["environment"]["commit"] for name in SOURCES},
    }


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
