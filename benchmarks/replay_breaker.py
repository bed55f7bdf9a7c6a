"""Replays recorded breaker behaviour with our breaker and compares each step.

    python -m benchmarks.replay_breaker tests/data/breaker_vectors.jsonl.gz

Prints the numbers of scenarios, steps and differences. Exits with 1 at the first difference.
tests/data/breaker_vectors.md describes the format.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import click

from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import BreakerConfig, BreakerState, Late
from dispatcher.core.breaker.values import BreakerEvent, BreakerResult, EventKind, IllegalTransitionError, Permit

LETTERS = {
    BreakerState.CLOSED: "C",
    BreakerState.OPEN: "O",
    BreakerState.HALF_OPEN: "H",
    BreakerState.FORCED_OPEN: "F",
    BreakerState.DISABLED: "D",
    BreakerState.METRICS_ONLY: "M",
}
STATES = {letter: state for state, letter in LETTERS.items()}
EVENTS = {
    EventKind.SUCCESS: "s",
    EventKind.ERROR: "e",
    EventKind.IGNORED: "i",
    EventKind.NOT_PERMITTED: "n",
    EventKind.FAILURE_RATE_EXCEEDED: "f",
    EventKind.SLOW_RATE_EXCEEDED: "w",
    EventKind.RESET: "r",
}
RESULTS = {
    "S": BreakerResult.SUCCESS,
    "E": BreakerResult.FAILURE,
    "N": BreakerResult.SUCCESS,  # an error configured not to count is recorded as a success
    "I": BreakerResult.IGNORED,
}
FIELDS = ("r", "state", "failure_rate", "slow_rate", "buffered", "failed", "slow", "slow_failed", "not_permitted")
RATE_TOLERANCE = 1e-4  # the recording computed rates in 32-bit floats


class Config(TypedDict):
    """The breaker's configuration in the recording. Times are in the unit that the name ends with."""

    type: str
    size: int
    min_calls: int
    fail_rate: float
    slow_rate: float
    slow_us: int
    wait_ms: int
    wait_mult: float
    wait_max_ms: int | None
    half_open_calls: int
    half_open_max_wait_ms: int
    half_open_max_wait_to: str
    auto: bool
    initial: str
    t0_ms: int


class Scenario(TypedDict):
    """One scenario of the recorded breaker behaviour: a breaker's configuration, the calls, and the answers of that
    breaker.
    """

    id: int
    family: str
    cfg: Config
    late: str
    steps: list[list[Any]]


def scenarios(path: Path) -> Iterator[Scenario]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def config_of(scenario: Scenario) -> BreakerConfig:
    c = scenario["cfg"]
    return BreakerConfig(
        window_type=c["type"],
        window_size=c["size"],
        min_calls=c["min_calls"],
        failure_rate=c["fail_rate"],
        slow_rate=c["slow_rate"],
        slow_ns=c["slow_us"] * 1000,
        open_wait_ms=c["wait_ms"],
        open_wait_multiplier=c["wait_mult"],
        open_wait_ms_max=max(c["wait_ms"], c["wait_max_ms"] or c["wait_ms"]),
        open_wait_jitter=0.0,
        half_open_calls=c["half_open_calls"],
        half_open_max_wait_ms=c["half_open_max_wait_ms"],
        half_open_max_wait_to=STATES[c["half_open_max_wait_to"][0]],
        auto_half_open=c["auto"],
        initial=STATES[c["initial"][0]],
        late=Late(scenario["late"]),
        consecutive_failures=0,
        probe_lease_ms=0,
        probe_grants=0,
        stall_detection=False,
        early_verdict=False,
        few_probes_decide=False,
        attempts_decay_ms=0,
        idle_half_open_stays=False,
        ramp=(),
    )


class Replay:
    """Replays one recorded scenario with our breaker.

    A scenario has a configuration and a list of steps with the recorded results.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._now_ns = scenario["cfg"]["t0_ms"] * 1_000_000
        self._breaker = Breaker(config_of(scenario), self._now_ns)
        self._breaker.drain_events()
        self._permits: dict[int, Permit] = {}

    def step(self, step: list[Any]) -> list[tuple[str, Any, Any]]:
        """Replay one step and return the differences as (field, expected, got)."""
        got_r = self._do(step[0], step[1], step[2])
        m = self._breaker.metrics(self._now_ns)
        got = (
            *(got_r, LETTERS[m.state], m.failure_rate, m.slow_rate),
            *(m.buffered, m.failed, m.slow, m.slow_failed, m.not_permitted),
        )
        wrong = [
            (field, expected, value)
            for field, expected, value in zip(FIELDS, step[3:12], got, strict=True)
            if not _same(expected, value)
        ]
        events = " ".join(_letter(event) for event in self._breaker.drain_events())
        if events != (step[12] or ""):
            wrong.append(("events", step[12], events))
        return wrong

    def _do(self, op: str, a: Any, b: Any) -> Any:
        breaker = self._breaker
        if op == "A":
            permit = breaker.acquire(self._now_ns)
            if isinstance(permit, Permit):
                self._permits[a] = permit
                return True
            return False
        if op == "T":
            self._now_ns += a * 1_000_000
            breaker.tick(self._now_ns)
            return None
        if op.startswith("m"):
            return self._operate(op[1], a)
        late = self._permits[a].generation != breaker.generation
        if op == "R":
            breaker.release(self._permits[a])
        else:
            breaker.record(self._permits[a], RESULTS[op], b * 1000, self._now_ns)
        return late

    def _operate(self, letter: str, a: Any) -> str | None:
        try:
            if letter == "W":
                self._breaker.force_open_for(a * 1_000_000, self._now_ns)
            elif letter == "R":
                self._breaker.reset(self._now_ns)
            else:
                self._breaker.force(STATES[letter], self._now_ns)
        except IllegalTransitionError:
            return "illegal"
        return None


def _letter(event: BreakerEvent) -> str:
    if event.kind is EventKind.TRANSITION and event.source is not None and event.to is not None:
        return f"{LETTERS[event.source]}>{LETTERS[event.to]}"
    return EVENTS[event.kind]


def _same(expected: Any, got: Any) -> bool:
    if isinstance(expected, float) and isinstance(got, (int, float)):
        return abs(expected - got) <= RATE_TOLERANCE
    return bool(expected == got)


@click.command(help=__doc__)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(file: Path) -> None:
    began = time.perf_counter()
    count = steps = 0
    for scenario in scenarios(file):
        replay = Replay(scenario)
        for index, step in enumerate(scenario["steps"]):
            wrong = replay.step(step)
            steps += 1
            if wrong:
                field, expected, got = wrong[0]
                click.echo(f"scenario {scenario['id']} ({scenario['family']}), step {index} {step[:3]}: {field}")
                click.echo(f"  expected {expected!r}\n  got      {got!r}")
                click.echo(f"{count} scenarios, {steps} steps, {len(wrong)} differences in this step")
                sys.exit(1)
        count += 1
    seconds = time.perf_counter() - began
    click.echo(f"{count} scenarios, {steps} steps, 0 differences, {seconds:.2f} s")


if __name__ == "__main__":
    main()
