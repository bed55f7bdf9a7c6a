"""Measures the CPU time of sending one notification, and how fast one process drains a backlog.

    python -m benchmarks.dispatch_cost [--count 2000] [--rounds 3] [--peers all] [--against DIR]

A sandbox vendor answers after 50 ms, and at most 64 calls are open at the same time. Redis runs append-only with fsync
always, as `dispatcher up` starts it. A backlog is sent by each of these subjects:

* ours: our vendor actor with all its duties;
* floor: the smallest asyncio worker that delivers at least once (`benchmarks/dispatch_workers.py`);
* tenants: our vendor actor, with messages of a thousand tenants instead of one. It should cost at most 5 % more, with
  Redis included;
* peers: other task queues (`benchmarks/peers`), if they are installed (`pip install -e '.[peers]'`).

Each round measures every subject once, so that a noisy minute affects all of them. Redis, vendor and template are the
same for all. Our vendor has a contract rate that is never reached, so that the limiter is asked as in production.

CPU is user and system time of all processes of the worker. It is read from the kernel, from the 500th delivery to the
last acknowledgement. Redis and the vendor are processes of their own, and Redis's CPU time is a separate figure. The
vendor counts every delivery. The run prints which messages a subject did not deliver or delivered twice. The run fails
if our vendor actor did so. `--against` adds our vendor actor from another checkout of this repository, to compare two
commits in one run.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from benchmarks import results
from benchmarks.peers.job import CONCURRENCY
from benchmarks.processes import Sandbox, Worker, cpu_s, private_redis, until, workspace
from cluster.local.redis_server import RedisServer
from cluster.rehearsal import provenance

VENDOR = "sms-a"
PREFORK = 16  # processes with one call each, so at most 16 × 20 calls a second
ROUND_S = 120.0
LATE_S = 10.0  # how long to wait for deliveries that repeats have overtaken
SETTLED_S = 0.5  # wait after the last delivery; acknowledgements come within 0.1 s


@dataclass(frozen=True, slots=True)
class Subject:
    """A worker to measure: the command that runs it, the command that fills its queue, and the modules that it needs.

    `root` is the checkout from which both commands run.
    """

    name: str
    worker: tuple[str, ...]
    fill: tuple[str, ...]
    needs: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()  # runs too and is not counted
    root: Path = provenance.ROOT

    def missing(self) -> list[str]:
        return [module for module in self.needs if importlib.util.find_spec(module) is None]


def _own(name: str, beside: tuple[str, ...] = ()) -> Subject:
    module = "benchmarks.dispatch_workers"
    return Subject(name, (module, name), (module, name, "--fill"), beside=beside)


def _peer(name: str, app: str, needs: Sequence[str], *worker: str) -> Subject:
    return Subject(name, worker, ("benchmarks.peers.fill", app), tuple(needs))


CELERY = ("celery", "-A", "benchmarks.peers.celery_app", "worker", "-l", "warning")
CELERY_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
SUPERVISED = ("benchmarks.dispatch_workers", "supervisor")
OWN = (_own("ours", SUPERVISED), _own("tenants", SUPERVISED), _own("floor"))
PEERS = (
    _peer(
        "taskiq",
        "taskiq_app",
        ("taskiq", "taskiq_redis"),
        *("taskiq", "worker", "benchmarks.peers.taskiq_app:broker"),
        *("--workers", "1", "--max-async-tasks", str(CONCURRENCY), "--log-level", "WARNING"),
    ),
    _peer("arq", "arq_app", ("arq",), "arq", "benchmarks.peers.arq_app.WorkerSettings"),
    _peer(
        "dramatiq",
        "dramatiq_app",
        ("dramatiq", "requests"),
        *("dramatiq", "benchmarks.peers.dramatiq_app", "-p", "1", "-t", str(CONCURRENCY)),
    ),
    _peer(
        "celery-gevent",
        "celery_app",
        ("celery", "gevent", "requests"),
        *(*CELERY, "-P", "gevent", "-c", str(CONCURRENCY), *CELERY_QUIET),
    ),
    _peer(
        "celery-prefork",
        "celery_app",
        ("celery", "requests"),
        *(*CELERY, "-P", "prefork", "-c", str(PREFORK), *CELERY_QUIET),
    ),
)
VERSIONED = ("celery", "kombu", "gevent", "dramatiq", "taskiq", "taskiq-redis", "arq", "requests")


class Bench:
    """Runs rounds on one Redis and one sandbox. A round has `warm` notifications to warm up, then `count`
    measured ones.
    """

    def __init__(self, folder: Path, redis: RedisServer, sandbox: Sandbox, count: int, *, warm: int) -> None:
        self._folder, self._redis, self._sandbox = folder, redis, sandbox
        self._count, self._warm = count, warm
        self._environment = {
            "BENCHMARK_REDIS": redis.url.removeprefix("unix://"),
            "SANDBOX_URL": sandbox.url,
            "SANDBOX_SMTP_PORT": str(sandbox.smtp_port),
        }

    def round(self, subject: Subject) -> dict[str, float]:
        """Run one of the compared workers (`subject`) once, on a queue that is filled first. Return the figures of this
        round.

        The measurement lasts from the end of the warm-up to the last acknowledgement. At the end the worker is stopped.
        """
        self._redis.client().flushall()
        self._sandbox.reset()
        total = self._count + self._warm
        filler = self._start(subject, (*subject.fill, str(total)), "fill")
        if not until(lambda: not filler.running(), ROUND_S) or "Traceback" in filler.tail():
            raise click.ClickException(f"{subject.name}: the queue was not filled\n{filler.tail()}")
        beside = self._start(subject, subject.beside, "beside") if subject.beside else None
        worker = self._start(subject, subject.worker, "worker")
        try:
            return self._measure(subject, worker, total)
        finally:
            worker.stop()
            if beside is not None:
                beside.stop()

    def _measure(self, subject: Subject, worker: Worker, total: int) -> dict[str, float]:
        redis_pid = self._redis.pid()
        assert redis_pid is not None
        done = 0

        def reached(wanted: int) -> bool:
            nonlocal done
            done = self._sandbox.accepted(VENDOR)
            return done >= wanted or not worker.running()

        if not until(lambda: reached(self._warm), ROUND_S, 0.1) or not worker.running():
            raise click.ClickException(f"{subject.name}: does not work\n{worker.tail()}")
        first, first_s, cpu, redis_cpu = done, time.time(), worker.cpu_s(), cpu_s([redis_pid])
        until(lambda: reached(total), ROUND_S, 0.1)
        time.sleep(SETTLED_S)
        cpu, redis_cpu = worker.cpu_s() - cpu, cpu_s([redis_pid]) - redis_cpu
        until(lambda: len(self._texts()) == total, LATE_S, 0.5)
        deliveries, distinct = self._sandbox.received(VENDOR), len(self._texts())
        sent = len(deliveries) - first
        return {
            "cpu_ms": cpu * 1000 / sent,
            "per_s": sent / (deliveries[-1]["t"] - first_s),
            "redis_cpu_ms": redis_cpu * 1000 / sent,
            "missing": total - distinct,
            "repeated": len(deliveries) - distinct,
        }

    def _texts(self) -> set[str]:
        """Return the distinct messages that arrived."""
        return {delivery["text"] for delivery in self._sandbox.received(VENDOR)}

    def _start(self, subject: Subject, command: Sequence[str], part: str) -> Worker:
        environment = {**self._environment, "PYTHONPATH": str(subject.root)}
        log = self._folder / f"{subject.name}-{part}.log"
        return Worker([sys.executable, "-m", *command], environment, log, subject.root)


def chosen_peers(wanted: str) -> list[Subject]:
    """Return the wanted peers that are installed, and print the names of those that are not.

    Raises BadParameter for an unknown name.
    """
    names = [peer.name for peer in PEERS] if wanted == "all" else [name for name in wanted.split(",") if name != "none"]
    found = []
    for name in filter(None, names):
        peer = next((peer for peer in PEERS if peer.name == name), None)
        if peer is None:
            known = ", ".join(peer.name for peer in PEERS)
            raise click.BadParameter(f"{name} is none of {known}", param_hint="--peers")
        if peer.missing():
            click.echo(
                f"{name}: not measured, {', '.join(peer.missing())} is not installed (pip install -e '.[peers]')"
            )
        else:
            found.append(peer)
    return found


@click.command(help=__doc__)
@click.option("--count", default=2000, show_default=True, help="notifications measured, after 500 to warm up")
@click.option("--rounds", default=3, show_default=True)
@click.option("--peers", "wanted", default="all", show_default=True, help="names with commas between, all or none")
@click.option("--against", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@results.options
def main(*, count: int, rounds: int, wanted: str, against: Path | None, quick: bool, results_: Path | None) -> None:
    warm = 500
    if quick:
        count, rounds, warm = 300, 1, 50
    subjects = [*OWN, *chosen_peers(wanted)]
    if against is not None:
        subjects.insert(1, replace(OWN[0], name="against", root=against))
    found: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in subjects}
    with workspace() as folder, private_redis(folder) as redis:
        sandbox = Sandbox()
        try:
            bench = Bench(folder, redis, sandbox, count, warm=warm)
            for n in range(rounds):
                for subject in subjects:
                    found[subject.name].append(bench.round(subject))
                    click.echo(f"round {n + 1}: {subject.name} {found[subject.name][-1]['cpu_ms']:.3f} ms")
        finally:
            sandbox.stop()
    figures = summary(found, count, rounds)
    show(figures)
    results.report("dispatch_cost", figures, results_, quick, packages=(*provenance.PACKAGES, *VERSIONED))
    own = [*found["ours"], *found["tenants"]]
    results.convict({"lost": run["missing"], "unexplained": run["repeated"]} for run in own)


def summary(found: dict[str, list[dict[str, float]]], count: int, rounds: int) -> dict[str, Any]:
    """Return the median of each figure for each subject.

    Each subject also has two ratios: its CPU time divided by the CPU time of `floor` in the same round, and its CPU
    time divided by the CPU time of `ours` in the same round.
    """
    floor = [run["cpu_ms"] for run in found["floor"]]
    ours = [run["cpu_ms"] for run in found["ours"]]
    return {
        "count": count,
        "rounds": rounds,
        "vendor_ms": 50,
        "concurrency": CONCURRENCY,
        "subjects": {
            name: {
                **{field: results.spread([run[field] for run in runs]) for field in runs[0]},
                "times_floor": results.spread([run["cpu_ms"] / base for run, base in zip(runs, floor, strict=True)], 2),
                "times_ours": results.spread([run["cpu_ms"] / base for run, base in zip(runs, ours, strict=True)], 2),
            }
            for name, runs in found.items()
        },
    }


def show(figures: dict[str, Any]) -> None:
    rows: list[list[Any]] = [
        ["", "CPU ms each", "(min to max)", "× floor", "× ours", "a second", "Redis CPU ms", "missing", "repeated"]
    ]
    for name, f in figures["subjects"].items():
        cpu = f["cpu_ms"]
        rows.append(
            [
                name,
                f"{cpu['median']:.3f}",
                f"({cpu['min']:.3f} to {cpu['max']:.3f})",
                f"{f['times_floor']['median']:.2f}",
                f"{f['times_ours']['median']:.2f}",
                f"{f['per_s']['median']:.0f}",
                f"{f['redis_cpu_ms']['median']:.3f}",
                f"{sum(f['missing']['all']):.0f}",
                f"{sum(f['repeated']['all']):.0f}",
            ]
        )
    results.table(rows)


if __name__ == "__main__":
    main()
