"""`dispatcher drill`: rehearse outages against the sandbox vendors, on an installation of its own."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from actors.runtime import VERSION
from cluster.local.service import Service
from cluster.rehearsal.drills.bars import measured
from cluster.rehearsal.drills.catalogue import DRILLS, FIRST, NO_STORM, SECOND
from cluster.rehearsal.drills.play import Run, duration_s, perform, play, storm
from cluster.rehearsal.drills.report import FIELDS, figures, plot, summary, table, wrong
from cluster.rehearsal.provenance import environment

STORM = "storm"
TABLE_WIDTH = 170
"""A terminal of 80 columns cannot show fifteen figures; a pager or a file can."""


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--runs", default=1, show_default=True, help="how often each drill is done; the table shows median and worst"
)
@click.option("--rate", default=100.0, show_default=True, help="triggers a second, an SMS and an e-mail each")
@click.option("--minutes", default=10.0, show_default=True, help="length of the storm")
@click.option(
    "--on-unknown",
    type=click.Choice(["resend", "hold"]),
    default="resend",
    show_default=True,
    help="what the triggers say of an unknown outcome; under hold nothing may be repeated",
)
@click.option("--strict", is_flag=True, help="exit 1 also when a bar is missed")
@click.option("--seed", default=1, show_default=True, help="of the storm's dice")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    help="also write every figure of every run there; what it holds of other drills stays",
)
@click.option(
    "--plots", type=click.Path(file_okay=False, path_type=Path), help="write a PNG for each drill's last run there"
)
def drill(
    *,
    names: tuple[str, ...],
    runs: int,
    rate: float,
    minutes: float,
    on_unknown: str,
    strict: bool,
    seed: int,
    json_file: Path | None,
    plots: Path | None,
) -> None:
    """Break things on purpose under load and print what it cost.

    Without NAME it lists the drills, and how long each takes; `all` means every one but the storm, which draws from
    those of vendors, actors, supervisor, intake and Redis, and leaves out what the list says.

    Each NAME starts a steady load on a private installation with the sandbox vendors, breaks one thing, mends it, waits
    for the backlog, and counts against what the vendors received. Exit 1 when anything acknowledged was lost, or
    repeated without a kill that explains it; under `--on-unknown hold`, repeated at all. What each drill must reach on
    two cores is printed with its worst run beside it; with --strict a bar that is missed is exit 1 too.
    """
    console = Console()
    if not names:
        _list(console)
        return
    chosen = [n for name in names for n in (DRILLS if name == "all" else [name])]
    unknown = [name for name in chosen if name not in DRILLS and name != STORM]
    if unknown:
        raise click.BadParameter(f"{unknown[0]}: is no drill; `dispatcher drill` lists them")
    before = _drills_in(json_file)
    results, failed = _perform(
        console, chosen, runs, rate, minutes=minutes, on_unknown=on_unknown, seed=seed, plots=plots
    )
    Console(width=max(console.width, TABLE_WIDTH)).print(table(results))
    if json_file is not None:
        json_file.write_text(
            json.dumps(_document(results, rate, minutes, on_unknown, seed=seed, before=before), indent=1) + "\n"
        )
    missed = _hold_to_bars(console, results)
    console.print(f"[red]FAILED: {'; '.join(failed)}[/]" if failed else "[green]nothing lost, no unexplained repeat[/]")
    sys.exit(1 if failed or (strict and missed) else 0)


def _list(console: Console) -> None:
    for found in DRILLS.values():
        console.print(f"{found.name:18} {duration_s(found) / 60:4.1f} min  {found.about}", soft_wrap=True)
    console.print(
        f"{STORM:18} 10.0 min  one of these at random every 20 s; shorter or longer: --minutes", soft_wrap=True
    )
    for name, why in NO_STORM.items():
        console.print(f"{'':29}without {name}: {why}", soft_wrap=True)
    console.print("for each run; and half a minute once, to start and stop the installation")


def _hold_to_bars(console: Console, results: dict[str, list[dict[str, Any]]]) -> int:
    """Print each bar of these drills with their worst run; how many were missed."""
    missed = 0
    for name, runs in results.items():
        for bar, worst in measured(name, summary(runs)):
            missed += not bar.met(worst)
            console.print(bar.told(worst), style=None if bar.met(worst) else "red", highlight=False)
    return missed


def _perform(
    console: Console,
    chosen: list[str],
    runs: int,
    rate: float,
    *,
    minutes: float,
    on_unknown: str,
    seed: int,
    plots: Path | None,
) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    folder = Path(tempfile.mkdtemp(prefix="nd-drill-"))
    service = Service(folder / "state")
    results: dict[str, list[dict[str, Any]]] = {}
    failed: list[str] = []
    try:
        console.print(f"ready after {service.start():.1f} s")
        for name in chosen:
            for number in range(runs):
                run = (
                    storm(service, rate, minutes, 20.0, seed=seed + number, on_unknown=on_unknown)
                    if name == STORM
                    else play(service, DRILLS[name], rate, on_unknown)
                )
                found = figures(service, run)
                results.setdefault(name, []).append(found)
                why = wrong(found)
                failed += [f"{name}: {why}"] if why else []
                text = "  ".join(f"{k} {v}" for k, v in found.items() if v is not None)
                console.print(f"{name} {number + 1}/{runs}: {why or 'survived'}  {text}", soft_wrap=True)
                _until_steady(service, rate)
            if plots is not None:
                plots.mkdir(parents=True, exist_ok=True)
                plot(plots / f"{name}.png", name, run)
    finally:
        service.stop()
        service.clean_up()
        shutil.rmtree(folder, ignore_errors=True)
    return results, failed


def _until_steady(service: Service, rate: float) -> None:
    """Back to the steady state before the next drill. A recovering vendor is probed by live messages: give it some.

    One that comes and goes gets new work a minute later (`supervision.dwell_s`): until then breaking it breaks nothing.
    """
    for _ in range(30):
        found = {v["name"]: v for v in service.get("/v1/vendors")["vendors"]}
        if all(found[name]["state"] == "closed" and found[name]["takes_new"] for name in (FIRST, SECOND)):
            return
        perform(service, min(rate, 50.0), 3.0, lambda faults: None)


def _drills_in(file: Path | None) -> dict[str, Any]:
    """Read before an hour of drills, so that a mistake in the name does not cost it."""
    if file is None or not file.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(file.read_text())["drills"]
    except (OSError, ValueError, KeyError, TypeError):
        raise click.BadParameter(f"{file}: is there, and holds no drills", param_hint="--json") from None
    return found


def _document(
    results: dict[str, list[dict[str, Any]]],
    rate: float,
    minutes: float,
    on_unknown: str,
    *,
    seed: int,
    before: dict[str, Any],
) -> dict[str, Any]:
    """Each drill with the commit and the machine it was done on: a set is made in pieces."""
    about = {**environment(), "version": VERSION, "rate_per_s": rate, "on_unknown": on_unknown}
    storms = {STORM: {"minutes": minutes, "seed": seed}}
    done = {
        _entry(name, on_unknown): {**about, **storms.get(name, {}), "summary": summary(runs), "runs": runs}
        for name, runs in results.items()
    }
    return {"fields": FIELDS, "drills": {**before, **done}}


def _entry(name: str, on_unknown: str) -> str:
    return name if on_unknown == "resend" else f"{name}, {on_unknown}"


__all__ = ["Run", "drill"]
