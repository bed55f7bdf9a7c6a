"""The benchmarks, one file per question: `python -m benchmarks` lists and runs them, each as a process of its own.

python -m benchmarks --list
python -m benchmarks [NAME] [--quick] [--results DIR]
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.results import FOLDER, ROOT

STOP_S = 90.0
"""After SIGINT a benchmark ends what it started; a running service drains for some seconds of that."""


@dataclass(frozen=True, slots=True)
class Question:
    """One benchmark: what it asks, the seconds it may take (plain, quick), arguments it needs."""

    name: str
    asks: str
    seconds_max: float
    quick_s_max: float
    arguments: tuple[str, ...] = ()


QUESTIONS = (
    Question(
        "replay_breaker",
        "Does our breaker do what resilience4j's was recorded to do?",
        60,
        60,
        (str(ROOT / "tests" / "data" / "breaker_vectors.jsonl.gz"),),
    ),
    Question("checkout_before_after", "What does a checkout wait, sending inside it and through us?", 900, 180),
    Question("accept_latency", "How long does a checkout wait for its 202, everything else running?", 300, 150),
    Question("end_to_end", "How many triggers a second does the whole machine carry?", 600, 120),
    Question("backlog", "Does a code pass a bulk run, and how soon does the fallback drain a backlog?", 900, 120),
    Question("dispatch_cost", "What does sending one notification cost, beside a bare loop and peers?", 1200, 240),
    Question("growth", "Do bytes and cost per notification grow with backlog and vendors?", 600, 90),
    Question("scaling", "What do more actors and replicas bring, and cost?", 900, 180),
    Question("elastic", "Do the pools follow a tenfold step, and is anything lost on the way?", 400, 120),
    Question("hotspots", "Whose code do the processes spend their CPU time in?", 200, 120),
    Question("cold_start", "How long from `up` to the first delivery, and what does it occupy?", 400, 120),
    Question("soak", "Does anything grow, or slow down, with time?", 900, 120),
    Question("profile", "The figures above as one profile for `dispatcher capacity`", 30, 30),
)


@click.command(help=__doc__)
@click.argument("name", required=False)
@click.option("--list", "list_only", is_flag=True, help="only say what there is")
@click.option("--quick", is_flag=True, help="a smoke of each, with small sizes; the figures mean nothing")
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), help="folder for the JSON files")
def main(name: str | None, list_only: bool, quick: bool, results: Path | None) -> None:
    chosen = [question for question in QUESTIONS if name in (None, question.name) and _exists(question)]
    if not chosen:
        names = ", ".join(question.name for question in QUESTIONS)
        raise click.BadParameter(f"{name} is none of {names}", param_hint="NAME")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would ours
    failed = []
    for question in chosen:
        click.echo(f"{question.name:22} {question.asks}")
        if not list_only and not _run(question, quick, results):
            failed.append(question.name)
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}")
    if not list_only and not quick:
        click.echo(f"results are in {results or FOLDER}")


def _exists(question: Question) -> bool:
    return importlib.util.find_spec(f"benchmarks.{question.name}") is not None


def _run(question: Question, quick: bool, results: Path | None) -> bool:
    """Run one to its end or its bound; a run that is cut off may tidy up first."""
    words = [sys.executable, "-m", f"benchmarks.{question.name}", *question.arguments]
    if question.name != "replay_breaker":  # a yes or a no, not figures
        words += ["--quick"] if quick else []
        words += ["--results", str(results)] if results else []
    bound_s = question.quick_s_max if quick else question.seconds_max
    began = time.monotonic()
    process = subprocess.Popen(words, cwd=ROOT)
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
        click.echo(f"{question.name}: cut off after {time.monotonic() - began:.0f} s")
        return False
    click.echo(f"{question.name}: {'done' if code == 0 else f'exit code {code}'}, {time.monotonic() - began:.0f} s\n")
    return code == 0


if __name__ == "__main__":
    main()
