"""Lists and runs the benchmarks. Each file answers one question and runs as a process of its own.

    python -m benchmarks --list
    python -m benchmarks [NAME] [--brief] [--quick] [--results DIR]

`--brief` takes fewer rounds, sizes and rates, so that all benchmarks together end within 20 minutes on two cores. Its
figures go to a folder of their own, benchmarks/results/brief, so that they never replace the figures of a full run.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click

from benchmarks.results import BRIEF, FOLDER
from cluster.rehearsal.provenance import ROOT

STOP_S = 90.0
"""The most seconds that a benchmark may take to end after SIGINT. It stops what it started, and a service drains
first.
"""


SMOKES_AT_ONCE = 2
SMOKE = "smoke"
ALWAYS_THE_SAME = ("replay_breaker", SMOKE)
"""The benchmarks without a brief or quick form. The first has no figures, and the second is always quick."""


@dataclass(frozen=True, slots=True)
class Question:
    """One benchmark: its name, the question that it answers, its time limits and its arguments.

    `seconds_max` limits a full run, and `quick_s_max` limits a quick run. Every run gets `arguments`, and a brief run
    gets `brief` in addition. A benchmark with `reads` measures nothing: it reads the figures that earlier benchmarks
    wrote. The quick run of a benchmark with `shares` may use the installation that `benchmarks.smoke` starts.
    """

    name: str
    asks: str
    seconds_max: float
    quick_s_max: float
    arguments: tuple[str, ...] = ()
    brief: tuple[str, ...] = ()
    reads: bool = False
    shares: bool = False


VECTORS = (str(ROOT / "tests" / "data" / "breaker_vectors.jsonl.gz"),)
QUESTIONS = (
    Question("replay_breaker", "Does our breaker do what resilience4j's was recorded to do?", 60, 60, VECTORS),
    Question(
        "checkout_before_after",
        "What does a checkout wait, sending inside it and through us?",
        *(900, 300),
        brief=("--rounds", "1", "--seconds", "6"),
    ),
    Question(
        "accept_latency",
        "How long does a checkout wait for its 202, everything else running?",
        *(1500, 300),
        brief=("--rounds", "1", "--seconds", "6", "--rate", "116", "--rate", "200", "--steps", "1"),
        shares=True,
    ),
    Question(
        "end_to_end",
        "How many triggers a second does the whole machine carry?",
        *(1200, 120),
        brief=("--rounds", "1", "--rate", "150", "--rate", "300", "--rate", "500", "--seconds", "8"),
        shares=True,
    ),
    Question(
        "backlog",
        "Does a code pass a bulk run, and how soon does the fallback drain a backlog?",
        *(1200, 120),
        brief=("--rounds", "1", "--messages", "100000", "--seconds", "8"),
        shares=True,
    ),
    Question(
        "fair_tenants",
        "Does one tenant's flood leave another tenant's times alone?",
        *(1800, 300),
        brief=("--rounds", "1", "--messages", "200000", "--seconds", "30"),
        shares=True,
    ),
    Question(
        "dispatch_cost",
        "What does sending one notification cost, beside a bare loop and peers?",
        *(1200, 240),
        brief=("--rounds", "2", "--peers", "none"),
    ),
    Question(
        "growth",
        "Do bytes and cost per notification grow with what is queued and kept, and with vendors?",
        *(1800, 180),
        brief=("--rounds", "3"),
    ),
    Question(
        "scaling",
        "What do more actors and replicas bring, and cost?",
        *(900, 180),
        brief=("--size", "1", "--size", "2", "--seconds", "3", "--count", "1000"),
        shares=True,
    ),
    Question(
        "load_step",
        "What does a checkout wait when the load steps up sixfold, pools free and pinned?",
        *(1500, 180),
        brief=("--rounds", "1"),
        shares=True,
    ),
    Question(
        "elastic",
        "Do the pools follow a tenfold step, and is anything lost on the way?",
        *(1200, 120),
        brief=("--rounds", "1"),
        shares=True,
    ),
    Question(
        "intake_elastic",
        "Does intake follow the requests in hand, and is anything lost on the way?",
        *(400, 120),
        brief=("--after", "10"),
        shares=True,
    ),
    Question(
        "hotspots",
        "Whose code do the processes spend their CPU time in?",
        *(200, 120),
        shares=True,
    ),
    Question(
        "cold_start",
        "How long from `up` to the first delivery, and what does it occupy?",
        *(400, 300),
        brief=("--rounds", "1", "--seconds", "10"),
    ),
    Question(
        "soak",
        "Does anything grow, or slow down, with time?",
        *(2400, 120),
        brief=("--minutes", "2"),
        shares=True,
    ),
    Question("profile", "The figures above as one profile for `dispatcher capacity`", 30, 90, reads=True),
    Question("model_check", "How far is that model off, at rates it was not fitted to?", 30, 90, reads=True),
)


@click.command(help=__doc__)
@click.argument("name", required=False)
@click.option("--list", "list_only", is_flag=True, help="only say what there is")
@click.option("--brief", is_flag=True, help="all within 20 minutes, with fewer rounds, sizes and rates")
@click.option("--quick", is_flag=True, help="a smoke of each, with small sizes; the figures mean nothing")
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), help="folder for the JSON files")
def main(*, name: str | None, list_only: bool, brief: bool, quick: bool, results: Path | None) -> None:
    chosen = [question for question in QUESTIONS if name in (None, question.name)]
    if not chosen:
        names = ", ".join(question.name for question in QUESTIONS)
        raise click.BadParameter(f"{name} is none of {names}", param_hint="NAME")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would ours
    if list_only:
        for question in chosen:
            click.echo(f"{question.name:22} {question.asks}")
        return
    results = results or (BRIEF if brief else None)
    began = time.monotonic()
    done = _smoke(chosen, results) if quick else {question: _run(question, brief, results) for question in chosen}
    click.echo(f"{len(chosen)} in {time.monotonic() - began:.0f} s")
    failed = [question.name for question, well in done.items() if not well]
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}")
    if not quick:
        click.echo(f"results are in {results or FOLDER}")


def _smoke(questions: Sequence[Question], results: Path | None) -> dict[Question, bool]:
    """Run the benchmarks in their quick form, two at a time. Return which of them succeeded.

    The figures of these runs mean nothing, so the benchmarks may disturb each other. A benchmark that only reads
    results runs after all others. Benchmarks that share an installation run one after another, as if they were one
    benchmark. When a benchmark has ended, its output is shown.
    """

    def one(question: Question) -> bool:
        with tempfile.TemporaryFile("w+") as output:
            well = _run(question, False, results, output)
            output.seek(0)
            click.echo(output.read(), nl=False)
        return well

    measuring = together([question for question in questions if not question.reads])
    with ThreadPoolExecutor(SMOKES_AT_ONCE) as pool:
        done = dict(zip(measuring, pool.map(one, measuring), strict=True))
    return done | {question: one(question) for question in questions if question.reads}


def together(questions: Sequence[Question]) -> list[Question]:
    """Replace the questions that may share an installation by the single question `benchmarks.smoke`.

    `benchmarks.smoke` asks all of them on one installation, and is first in the returned list. If fewer than two
    questions may share one, return the list unchanged.
    """
    shared = [question for question in questions if question.shares]
    if len(shared) < 2:
        return list(questions)
    bound_s = sum(question.quick_s_max for question in shared)
    names = tuple(question.name for question in shared)
    smoke = Question(SMOKE, f"Do these run, on one installation: {', '.join(names)}?", bound_s, bound_s, names)
    return [smoke, *(question for question in questions if not question.shares)]


def _run(question: Question, brief: bool, results: Path | None, output: IO[str] | None = None) -> bool:
    """Run one benchmark and return True if it succeeded.

    A benchmark that takes longer than its limit gets SIGINT, and then has `STOP_S` seconds to clean up. If `output` is
    given, the run is quick and its output goes there.
    """
    command = [sys.executable, "-m", f"benchmarks.{question.name}", *question.arguments]
    if question.name not in ALWAYS_THE_SAME:
        command += ["--quick"] if output else question.brief if brief else []
    if question.name != "replay_breaker":
        command += ["--results", str(results)] if results else []
    bound_s = question.quick_s_max if output else question.seconds_max
    click.echo(f"{question.name:22} {question.asks}", output)
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        code = process.wait(bound_s)
    except KeyboardInterrupt:  # the terminal told the child too
        process.wait(STOP_S)
        raise
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        click.echo(f"{question.name}: cut off after {time.monotonic() - began:.0f} s", output)
        return False
    ended = "done" if code == 0 else f"exit code {code}"
    click.echo(f"{question.name}: {ended}, {time.monotonic() - began:.0f} s\n", output)
    return code == 0


if __name__ == "__main__":
    main()
