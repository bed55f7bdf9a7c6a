"""Everything that a courier needs from outside, as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.ports import Clock, Store
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates.cache import TemplateCache


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The store, the templates, the clock and the metrics of one courier. `chance` returns random numbers in [0, 1)."""

    store: Store
    templates: TemplateCache
    clock: Clock
    metrics: Metrics
    chance: Callable[[], float] = lambda: 0.5
