"""Builds stores, and the settings of a breaker that opens after four failures, for the tests of the courier."""

from __future__ import annotations

from typing import Any

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.breaker.config import BreakerConfig
from tests.unit.stage import Stage

FRAGILE = BreakerConfig(window_type="COUNT", window_size=4, min_calls=4, consecutive_failures=0, open_wait_jitter=0.0)


def courier_store(stage: Stage) -> Any:
    return MemoryStore(stage.cell)
