"""Measures everything that the table of docs/benchmarks.md shows, one benchmark after another, and prints the table.

    python -m benchmarks.table_run [NAME …] [--soak-minutes 120] [--against DIR] [--list] [--results DIR]

Every benchmark runs three rounds or more, except scaling, intake_elastic and the soak, which have one run.
`dispatch_cost` measures the peers that are installed (`pip install -e '.[peers]'`). `pairs` needs a working copy of
another commit (`--against`), and is left out without it. The time of each step is printed.

The limits of the load step and of the peak hold for 700 and 1,157 triggers a second. A machine that does not carry
these rates measures them at the highest rate that `end_to_end` sustained, and the rows name it.

A step that fails does not stop the others. Then the exit code is 1.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks import measured_table, results
from benchmarks.measured_table import ROWS
from benchmarks.readings import OVERLOAD, STEP_TO
from cluster.rehearsal.provenance import ROOT

SOAK_MINUTES = 120


@dataclass(frozen=True, slots=True)
class Step:
    """One benchmark of the table, its arguments, and some minutes that it takes on two cores.

    `rate_per_s` is the rate of the row's limit. If it is set, the benchmark gets `--rate` with this rate, or with the
    highest rate that was sustained if that is lower.
    """

    name: str
    minutes: float
    arguments: tuple[str, ...] = ()
    rate_per_s: float | None = None

    def command(self, sustained_per_s: float) -> list[str]:
        """Return the words after `python -m`. `sustained_per_s` is 0 if no rate was sustained."""
        command = [f"benchmarks.{self.name}", *self.arguments]
        if self.rate_per_s is not None and 0 < sustained_per_s < self.rate_per_s:
            command += ["--rate", f"{sustained_per_s:g}"]
        return command


STEPS = (
    Step("cold_start", 4, ("--rounds", "3")),
    Step("dispatch_cost", 8),
    Step("end_to_end", 15),
    Step("accept_latency", 15),
    Step("load_step", 12, ("--rounds", "3"), STEP_TO),
    Step("peak", 8, (), OVERLOAD),
    Step("elastic", 10, ("--rounds", "3")),
    Step("intake_elastic", 4),
    Step("fair_tenants", 15),
    Step("backlog", 15),
    Step("growth", 20),
    Step("scaling", 8),
    Step("checkout_before_after", 10, ("--rounds", "3")),
    Step("starts", 25),
    Step("killed_whole", 5),
    Step("random_kills", 10),
    Step("cells", 10),
)
"""The steps in their order. `end_to_end` comes before the steps that need the rate that the machine carries."""


def steps(names: Sequence[str], soak_minutes: int, against: Path | None) -> list[Step]:
    """Return the wanted steps, or all of them if `names` is empty. Raises BadParameter for an unknown name."""
    found = [*STEPS, Step("soak", soak_minutes + 1, ("--minutes", f"{soak_minutes}"))]
    if against is not None:
        found.append(Step("pairs", 8, (str(against), "--results", str(results.FOLDER))))
    known = [step.name for step in found]
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name} is none of {', '.join(known)}", param_hint="NAME")
    return [step for step in found if not names or step.name in names]


def sustained_per_s(folder: Path | None) -> float:
    """Return the highest sustained rate of the last `end_to_end` in `folder`, or 0 if there is none."""
    try:
        return float(results.read("end_to_end", folder)["figures"]["highest_sustained_per_s"])
    except FileNotFoundError:
        return 0.0


def run(step: Step, folder: Path | None) -> bool:
    """Run one step, print its command and its time, and return True if it succeeded."""
    command = step.command(sustained_per_s(folder))
    if folder is not None and "--results" not in command:
        command += ["--results", str(folder)]
    click.echo(f"$ python -m {' '.join(command)}")
    began_s = time.monotonic()
    code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
    click.echo(f"{step.name}: {'done' if code == 0 else f'exit code {code}'}, {time.monotonic() - began_s:.0f} s\n")
    return code == 0


@click.command(help=__doc__)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--soak-minutes", default=SOAK_MINUTES, show_default=True, type=click.IntRange(1))
@click.option("--against", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@click.option("--list", "list_only", is_flag=True, help="only print the commands, and some minutes that each takes")
@click.option(
    "--results", "results_", type=click.Path(file_okay=False, path_type=Path), help="folder for the JSON files"
)
def main(
    *, names: tuple[str, ...], soak_minutes: int, against: Path | None, list_only: bool, results_: Path | None
) -> None:
    chosen = steps(names, soak_minutes, against)
    if list_only:
        for step in chosen:
            click.echo(f"{step.minutes:>5g} min  python -m {' '.join(step.command(sustained_per_s(results_)))}")
        return
    failed = [step.name for step in chosen if not run(step, results_)]
    click.echo(measured_table.as_markdown(lambda name: results.read(name, results_)))
    if not names and (left := sorted({row.file for row in ROWS} - {step.name for step in chosen})):
        click.echo(f"not measured again: {', '.join(left)} (--against DIR, see benchmarks.pairs)")
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
