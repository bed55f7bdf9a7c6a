"""Runs a simulation: sets up its surroundings, plays one seed until everything is at rest, and returns the result."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import structlog

from tests.simulation.process import SimulatedLoop
from tests.simulation.scene import Plot, World


@dataclass(slots=True)
class Result:
    """The result of one seed."""

    seed: int
    digest: str
    violations: list[str]
    seconds: float
    steps: int
    counts: Counter[str]
    crashed: bool = False


class _Dice:
    """Random numbers from the seed, in place of the module `secrets`."""

    def __init__(self) -> None:
        self.dice = random.Random(0)

    def token_bytes(self, count: int) -> bytes:
        return self.dice.randbytes(count)


_secrets = _Dice()
_world: list[World] = []


def _hear(_: Any, level: str, fields: Any) -> Any:
    """Write each warning and error that the simulated program logs into the trace, and tell the checker about it."""
    if _world:
        world = _world[-1]
        world.note("log", fields.get("event"), *(f"{k}={v}" for k, v in sorted(fields.items()) if k != "event"))
        world.checker.on_log(level, fields)
    raise structlog.DropEvent


@contextlib.contextmanager
def stage() -> Iterator[None]:
    """Set up the surroundings of runs: no real adapters, seeded randomness, and logs that go to the trace."""
    import logging

    before = structlog.get_config()
    structlog.configure(
        processors=[_hear],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        cache_logger_on_first_use=False,
    )
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda _: None  # dead tasks are collected at the end; their `finally` blocks fail
    with mock.patch("dispatcher.accept.intake.secrets", _secrets), mock.patch("actors.vendor.build", lambda *_: None):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # about coroutines that never began
                yield
                gc.collect()
        finally:
            sys.unraisablehook = unraisable
            structlog.configure(**before)


def run(
    seed: int,
    trace: Callable[[str], None] | None = None,
    crash: tuple[str, int] | None = None,
    plot: Plot | None = None,
    *,
    world_type: type[World] = World,
) -> Result:
    """Play one seed and return its result. The caller must be inside `stage`.

    With `crash` (kind, step) only one fault happens: the first actor that claims is killed or frozen, by `kind`, after
    `step` more of its steps. With `plot`, the faults of the seed follow this plot instead of a random one.
    """
    loop = SimulatedLoop()
    _secrets.dice.seed(seed)
    collected = gc.isenabled()
    gc.disable()  # it would end dead tasks at random moments
    try:
        asyncio.set_event_loop(loop)
        world = world_type(seed, loop, trace, crash, plot=plot)
        _world.append(world)
        loop.set_exception_handler(lambda _, context: world.checker.on_error(context))
        began_s = loop.time()
        try:
            loop.run_until_complete(world.play())
        except AssertionError as error:
            world.checker.violate(f"the play broke: {error!r}")
        steps = sum(process.steps for process in world.processes)
        duration_s, checker = loop.time() - began_s, world.checker
        return Result(seed, world.digest(), checker.violations, duration_s, steps, checker.counts(), world.crashed)
    finally:
        for world in _world:
            world.mute()
        _world.clear()
        loop.set_exception_handler(lambda *_: None)
        asyncio.set_event_loop(None)
        loop.abandon()
        if collected:
            gc.enable()


def play(seeds: range) -> list[Result]:
    """Play several seeds in one process and return their results.

    The function is not in `__main__`, because a spawned worker cannot import that module.
    """
    with stage():
        return [run(seed) for seed in seeds]
