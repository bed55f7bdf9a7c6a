"""`dispatcher drill`: rehearses outages with the sandbox vendors, on an installation of its own."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from cluster.local.service import Service
from cluster.rehearsal.drills.bars import measured
from cluster.rehearsal.drills.catalogue import DRILLS, FIRST, NO_STORM, SECOND
from cluster.rehearsal.drills.play import Run, duration_s, perform, play, storm
from cluster.rehearsal.drills.report import FIELDS, Figures, figures, plot, summary, table, wrong
from cluster.rehearsal.provenance import environment
from dispatcher.core.json_object import JsonObject
from dispatcher.version import VERSION

STORM = "storm"
TABLE_WIDTH = 170
"""The least width of the result table, in columns. A terminal of 80 columns cannot show fifteen figures."""


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--runs",
    default=1,
    show_default=True,
    help="How often each drill is run. The table shows the median and the worst run.",
)
@click.option(
    "--rate",
    default=100.0,
    show_default=True,
    help="How many triggers are posted a second. Each sends an SMS and an e-mail.",
)
@click.option("--minutes", default=10.0, show_default=True, help="How long the drill `storm` takes.")
@click.option(
    "--on-unknown",
    type=click.Choice(["resend", "hold"]),
    default="resend",
    show_default=True,
    help="The policy of the triggers for unknown outcomes. With `hold` nothing may be repeated.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 also if a time limit of a drill is missed.")
@click.option("--seed", default=1, show_default=True, help="The seed for the random faults of the drill `storm`.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    help="Also write every figure of every run to this file. Figures of other drills in it stay.",
)
@click.option(
    "--plots",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write a PNG of the last run of each drill to this folder.",
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

    Without NAME, the command lists the drills and how long each takes. The NAME `all` means every drill except the
    storm. The storm chooses its faults at random from the drills of vendors, actors, supervisor, intake and Redis.

    Each drill starts a steady load on a private installation with the sandbox vendors. It breaks one thing, repairs it,
    and waits for the backlog. Then it compares what was acknowledged with what the vendors received.

    The exit code is 1 if an acknowledged notification was lost, or was repeated and no kill explains it. With
    `--on-unknown hold` every repeat counts. The value that each drill must reach on two cores is printed beside its
    worst run. With --strict, a missed value gives exit code 1 too.
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


def _hold_to_bars(console: Console, results: dict[str, list[Figures]]) -> int:
    """Print each limit of these drills with the figure of the worst run. Return how many limits were not kept."""
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
) -> tuple[dict[str, list[Figures]], list[str]]:
    folder = Path(tempfile.mkdtemp(prefix="nd-drill-"))
    service = Service(folder / "state")
    results: dict[str, list[Figures]] = {}
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
    """Return when both SMS vendors are healthy and get new work, after at most 30 rounds. Each round posts messages for
    three seconds.

    Without messages a recovering vendor would get no probes. A vendor that has failed and recovered gets new work only
    a minute later (`supervision.dwell_s`). If the next drill began before that, it would break a vendor that gets no
    messages, and so show nothing.
    """
    for _ in range(30):
        found = {v["name"]: v for v in service.get("/v1/vendors")["vendors"]}
        if all(found[name]["state"] == "closed" and found[name]["takes_new"] for name in (FIRST, SECOND)):
            return
        perform(service, min(rate, 50.0), 3.0, lambda faults: None)


def _drills_in(file: Path | None) -> JsonObject:
    """Return the drills that the file already holds, keyed by name. Raises BadParameter if the file holds no drills.

    The file is read before the drills begin. A wrong file name is then noticed before an hour of drills, not after it.
    """
    if file is None or not file.exists():
        return {}
    try:
        found: JsonObject = json.loads(file.read_text())["drills"]
    except (OSError, ValueError, KeyError, TypeError):
        raise click.BadParameter(f"{file}: is there, and holds no drills", param_hint="--json") from None
    return found


def _document(
    results: dict[str, list[Figures]],
    rate: float,
    minutes: float,
    on_unknown: str,
    *,
    seed: int,
    before: JsonObject,
) -> JsonObject:
    """Return the content of the results file.

    Each drill has its own commit and machine, because a set of drills may be made in several runs. `before` are the
    drills that the file already holds. A drill of this run replaces the earlier drill of the same name.
    """
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
