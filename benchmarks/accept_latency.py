"""Measures how long a checkout waits for its 202 while everything else runs.

    python -m benchmarks.accept_latency [--rate 116 --rate 1157] [--vendors healthy --vendors hanging] [--rounds 3]

Starts the whole service with the sandbox vendors, as shipped: the pools may grow. Posts triggers (an SMS and an e-mail
each) open-loop, and counts latency from the due time. A condition is a rate and a state of the vendors:

* healthy: the vendors work;
* hanging: the vendors accept every connection and never answer;
* held: an operator's override opens every vendor, so that nothing is sent.

Prints for each condition:

* accept p50, p99 and p99.9;
* the time of a bare fdatasync on the same disk during the condition;
* delivery latency;
* how many notifications were lost or repeated, by the vendors' own records;
* the CPU time of each part per trigger.

After the last post of a condition the vendors are repaired or released. The next condition begins when everything has
arrived and every breaker is closed.

The rate 250/s is measured with healthy vendors only. `benchmarks.profile` fits lines and needs two rates that a small
machine sustains; 250/s is one of them. At the end, two bisections look for the highest rate whose p99 is within 10 ms:
one with healthy vendors, the other with held vendors. Figures are medians of rounds in one running service. Each rate
of a bisection has only one round.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks import results
from benchmarks.disk import Disk
from benchmarks.whole_service import (
    fault_all,
    forget,
    hold_all,
    load,
    recovered,
    release_all,
    running,
    vendor_actors,
)
from cluster.local.service import Service
from cluster.rehearsal.load import percentile

RATES = (116.0, 500.0, 1157.0)
"""The rates in triggers a second. 10 million a day are 116 a second, and the peak is ten times that."""

HEALTHY_ONLY = (250.0,)
STATES = ("healthy", "hanging", "held")
BISECTED = ("healthy", "held")
P99_MAX_MS = 10.0
STEPS, NEAR = 3, 1.15
"""The bisection ends after `STEPS` steps, or when the ratio of its two rates is at most `NEAR`."""

TRIGGERS_MAX = 12_000
"""The most triggers of one round. An overload leaves a backlog, and the next round begins only when that is gone."""

QUICK = {
    "vendors": {name: {"breaker": {"open_wait_s": 2, "open_wait_s_max": 8}} for name in ("email-a", "email-b")},
    "supervision": {"dwell_s": 0.0},
}
"""Changes with which the vendors recover soon, so that each condition begins with healthy vendors. A run with healthy
vendors alone makes none of them.

The e-mail vendors get the short breaker waits of the sandbox's SMS vendors. Recovered vendors get new work at once,
even after many failures.
"""


@dataclass(frozen=True, slots=True)
class Condition:
    """The load under which one line of the result is measured: a rate of triggers, and the state of the vendors
    meanwhile.
    """

    rate: float
    vendors: str
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.rate:g}/s, vendors {self.vendors}"

    @property
    def count(self) -> int:
        return min(TRIGGERS_MAX, int(self.rate * self.seconds))


def one_round(service: Service, condition: Condition, start: int) -> dict[str, float]:
    disk = Disk(service.state.path)
    forget(service)
    if condition.vendors == "hanging":
        fault_all(service, mode="hang")
    elif condition.vendors == "held":
        hold_all(service)

    def heal() -> None:
        if condition.vendors == "hanging":
            fault_all(service, mode="none")
        elif condition.vendors == "held":
            release_all(service)

    run = load(service, condition.rate, condition.count, start, after=heal, beside=disk)
    accept_ms, deliver_s = run.accept_ms, run.verdict.delivery_s
    actors = vendor_actors(service)
    dead = len(service.get("/v1/dead-letters?limit=1000")["dead_letters"])
    recovered(service)
    return {
        "accepted": run.verdict.accepted,
        "sustained": float(run.sustained),
        "accept_ms_p50": percentile(accept_ms, 0.5),
        "accept_ms_p99": percentile(accept_ms, 0.99),
        "accept_ms_p999": percentile(accept_ms, 0.999),
        "first_try_percent": 100 * run.first_try,
        "fdatasync_ms_p50": percentile(disk.duration_ms, 0.5),
        "fdatasync_ms_p99": percentile(disk.duration_ms, 0.99),
        "fdatasync_ms_max": max(disk.duration_ms, default=float("nan")),
        "fdatasyncs": len(disk.duration_ms),
        "delivery_ms_p50": percentile(deliver_s, 0.5) * 1000,
        "delivery_ms_p99": percentile(deliver_s, 0.99) * 1000,
        "delivered": run.verdict.delivered,
        "dead_letters": dead,
        "vendor_actors": actors,
        **run.losses,
        "metered_s": run.seconds,
        **{f"cpu_ms_per_trigger_{part}": ms for part, ms in run.cpu_ms_per_trigger().items()},
    }


class Measuring:
    """Runs rounds in one running service and keeps their figures for each condition."""

    def __init__(self, service: Service) -> None:
        self._service, self._start = service, 0
        self._rows: dict[Condition, list[dict[str, float]]] = {}

    def round(self, condition: Condition) -> None:
        self._rows.setdefault(condition, []).append(one_round(self._service, condition, self._start))
        self._start += condition.count
        row = self._rows[condition][-1]
        click.echo(f"{condition.name}: accept p99 {row['accept_ms_p99']:.1f} ms")

    def conditions(self) -> dict[str, dict[str, Any]]:
        """Return the figures of each condition by its name, sorted by rate and then by the vendors' state."""
        return {
            condition.name: {
                "rate_per_s": condition.rate,
                "vendors": condition.vendors,
                "triggers": condition.count,
                **results.spreads(found),
            }
            for condition, found in sorted(self._rows.items(), key=lambda item: (item[0].rate, item[0].vendors))
        }


@click.command(help=__doc__)
@click.option("--rate", "rates", multiple=True, type=float, help=f"triggers a second, instead of {RATES} and 250")
@click.option("--vendors", "vendors", multiple=True, type=click.Choice(STATES), default=STATES, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help=f"of each round, up to {TRIGGERS_MAX} triggers")
@click.option("--rounds", default=3, show_default=True, help="of each condition that is named; the bisection has one")
@click.option("--steps", default=STEPS, show_default=True, help="of the bisection, at most")
@results.options
def main(
    *,
    rates: tuple[float, ...],
    vendors: tuple[str, ...],
    seconds: float,
    rounds: int,
    steps: int,
    quick: bool,
    results_: Path | None,
) -> None:
    more = () if rates or "healthy" not in vendors else HEALTHY_ONLY
    rates = rates or RATES
    if quick:
        rates, more, seconds, rounds, steps = (20.0,), (), 1.0, 1, 0
    named = [Condition(rate, state, seconds) for rate in rates for state in vendors]
    named += [Condition(rate, "healthy", seconds) for rate in more]
    with running(QUICK if set(vendors) != {"healthy"} else None) as (service, ready_s):
        measuring = Measuring(service)
        for _ in range(rounds):
            for condition in named:  # in turn, so that a noisy minute affects all conditions
                measuring.round(condition)
        for state in (state for state in BISECTED if state in vendors):
            for _ in range(steps):
                rate = between(p99_of(measuring.conditions().values(), state), P99_MAX_MS)
                if rate is None:
                    break
                measuring.round(Condition(rate, state, seconds))
        measured = measuring.conditions()
    figures = {
        "ready_s": round(ready_s, 1),
        "conditions": measured,
        "hanging_over_healthy": decoupling(measured),
        "highest_rate_with_p99_of_10_ms": highest_within(measured, P99_MAX_MS),
    }
    show(figures)
    results.report("accept_latency", figures, results_, quick)
    results.convict(measured.values())


def show(figures: Mapping[str, Any]) -> None:
    for name, found in figures["conditions"].items():
        click.echo(name)
        for figure, value in found.items():
            shown = f"{value['median']:g}  ({value['min']:g} to {value['max']:g})" if isinstance(value, dict) else value
            click.echo(f"  {figure:32} {shown}")
    for at, ratio in figures["hanging_over_healthy"].items():
        click.echo(f"accept p99 at {at}, vendors hanging ÷ healthy: {ratio:g}")
    for state, rate in figures["highest_rate_with_p99_of_10_ms"].items():
        click.echo(
            f"highest rate measured with an accept p99 of at most {P99_MAX_MS:g} ms, vendors {state}: {rate:g}/s"
        )


def p99_of(conditions: Iterable[Mapping[str, Any]], vendors: str) -> dict[float, float]:
    """Return the accept p99 in ms of each rate, for one state of the vendors."""
    return {c["rate_per_s"]: c["accept_ms_p99"]["median"] for c in conditions if c["vendors"] == vendors}


def between(p99_ms: Mapping[float, float], most_ms: float) -> float | None:
    """Return the rate that the search for the highest good rate measures next, or None if the search has ended.

    A rate is good if its p99 is at most `most_ms`. `p99_ms` maps each measured rate to its p99. The next rate is the
    geometric mean of the highest good rate and the next higher measured rate. The search has ended if one of these two
    rates is missing, or if their ratio is at most `NEAR`.
    """
    low = max((rate for rate, p99 in p99_ms.items() if p99 <= most_ms), default=None)
    high = min((rate for rate in p99_ms if low is not None and rate > low), default=None)
    if low is None or high is None or high / low <= NEAR:
        return None
    return float(round(math.sqrt(low * high)))


def decoupling(conditions: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return accept p99 with hanging vendors ÷ accept p99 with healthy vendors, for each rate measured with both."""
    healthy, hanging = p99_of(conditions.values(), "healthy"), p99_of(conditions.values(), "hanging")
    return {f"{rate:g}/s": round(hanging[rate] / healthy[rate], 2) for rate in sorted(healthy) if rate in hanging}


def highest_within(conditions: dict[str, dict[str, Any]], most_ms: float) -> dict[str, float]:
    """Return the highest measured rate whose accept p99 is within `most_ms`, or 0, for each state of the vendors."""
    return {
        state: max((r for r, p99 in p99_of(conditions.values(), state).items() if p99 <= most_ms), default=0.0)
        for state in dict.fromkeys(c["vendors"] for c in conditions.values())
    }


if __name__ == "__main__":
    main()
