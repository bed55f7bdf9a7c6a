"""Measures in whose code the processes spend their CPU time while triggers come at a steady rate.

    python -m benchmarks.hotspots [--rate 250] [--seconds 20]

py-spy samples one intake replica and one vendor actor of a running service 250 times a second. It samples the thread
that holds the interpreter lock. Each sample counts for the package of the innermost frame outside the standard library.
So a write to a socket counts for the package that asked for it. `own` is the share of `dispatcher`, `actors` and
`serve_app`, without the Redis client and the vendor client. Needs `pip install -e '.[bench]'`. Sampling slows the
processes, so no latency is reported.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

import click
import uvloop

from benchmarks import results
from benchmarks.processes import workspace
from benchmarks.whole_service import bodies, drained, losses, running
from cluster.rehearsal.load import post_steadily

SUBJECTS = {"intake": "ServeReplica:intake", "vendor": "ServeReplica:vendor-sms-a"}
OWN = ("dispatcher", "actors", "serve_app")
PACKAGES = {
    *OWN,
    *("ray", "uvicorn", "starlette", "fastapi", "redis", "aiohttp", "yarl", "multidict"),
    *("pydantic", "jinja2", "phonenumbers", "structlog", "prometheus_client", "anyio"),
}
STANDARD_LIBRARY = "python"
LOOKS_PER_S = 250
START_PAUSE_S = 2.0
FRAME = re.compile(r"^(?P<function>.*) \((?P<file>[^():]*)(?::\d+)?\)$")
SHOWN = 12
PY_SPY = str(Path(sys.executable).with_name("py-spy"))


def package(stack: Iterable[str]) -> str:
    """Return the package that one sample counts for.

    `stack` has py-spy's frames `function (folder/file.py:line)`, the outermost first.
    """
    for frame in reversed(list(stack)):
        found = FRAME.match(frame)
        name = found["file"].split("/")[0] if found else ""
        if name in PACKAGES:
            return name
    return STANDARD_LIBRARY


def shares(lines: Iterable[str]) -> tuple[dict[str, float], list[tuple[str, float]]]:
    """Return how py-spy's samples are spread over the packages, and over the functions that were just running.

    Both results are in percent of the samples. The second has only the most frequent functions. `lines` has py-spy's
    raw format, `frame;frame;frame count`.
    """
    by_package: Counter[str] = Counter()
    by_function: Counter[str] = Counter()
    for line in lines:
        text, _, count = line.rpartition(" ")
        stack = text.split(";")
        by_package[package(stack)] += int(count)
        by_function[re.sub(r":\d+\)$", ")", stack[-1])] += int(count)
    looks = by_package.total()

    def percent(counted: Counter[str]) -> list[tuple[str, float]]:
        return [(name, round(100 * count / looks, 1)) for name, count in counted.most_common()]

    return dict(percent(by_package)), percent(by_function)[:SHOWN]


def watch(pid: int, seconds: float, to: Path) -> subprocess.Popen[bytes]:
    command = ["record", "--pid", str(pid), "--duration", str(int(seconds)), "--rate", str(LOOKS_PER_S)]
    kind = ["--gil", "--nonblocking", "--format", "raw", "--output", str(to)]
    return subprocess.Popen([PY_SPY, *command, *kind], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Profile(TypedDict):
    """Where one process spent its time, in percent of its samples."""

    own_percent: float
    percent_by_package: dict[str, float]
    innermost_percent: list[tuple[str, float]]


@click.command(help=__doc__)
@click.option("--rate", default=250.0, show_default=True, help="triggers a second")
@click.option("--seconds", default=20.0, show_default=True)
@results.options
def main(rate: float, seconds: float, quick: bool, results_: Path | None) -> None:
    if quick:
        rate, seconds = 20.0, 3.0
    if not Path(PY_SPY).exists():
        click.echo("hotspots: not measured, py-spy is not installed (pip install -e '.[bench]')")
        return
    with workspace() as folder, running() as (service, _):
        watching = {}
        for name, text in SUBJECTS.items():
            watching[name] = watch(service.pids(text)[0], seconds - START_PAUSE_S, folder / name)
        posted = uvloop.run(post_steadily(service.api, bodies(int(rate * seconds)), rate))
        lost = losses(service, drained(service, posted))
        found: dict[str, Profile] = {}
        for name, process in watching.items():
            if process.wait(30) != 0:
                raise click.ClickException(f"py-spy could not look at {name}; it needs the right to trace processes")
            by_package, functions = shares((folder / name).read_text().splitlines())
            own = round(sum(by_package.get(package, 0.0) for package in OWN), 1)
            found[name] = {"own_percent": own, "percent_by_package": by_package, "innermost_percent": functions}
    for name, figures in found.items():
        click.echo(f"{name}: {figures['own_percent']:g} % own")
        results.table([("package", "%"), *list(figures["percent_by_package"].items())[:8]])
        results.table([("innermost function", "%"), *figures["innermost_percent"]])
    results.report("hotspots", {"rate_per_s": rate, "seconds": seconds, "subjects": found}, results_, quick)
    results.convict([lost])


if __name__ == "__main__":
    main()
