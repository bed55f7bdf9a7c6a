"""Figures of the benchmark of cells in which nothing is missed, made up for the tests of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks import results

HELD = {
    "redis_of_quota": results.spread([1.0, 0.98, 0.95]),
    "throttled": results.spread([1.0, 0.9, 0.97]),
    "idle": results.spread([0.4, 0.35, 0.5]),
}
CELLS: Mapping[str, Mapping[str, Any]] = {
    "cells": {
        "share": 0.04,
        "rounds": 3,
        "ratio": {"carried": results.spread([1.9, 1.95, 1.85])},
        "one": {**HELD, "carried_per_s": results.spread([75.0, 74.0, 76.0])},
        "two": {**HELD, "carried_per_s": results.spread([142.0, 144.0, 141.0])},
        "dead_cell": {
            "seconds": 30.0,
            "others": 400,
            "others_first_try": 400,
            "others_delivered": 400,
            "others_repeated": 0,
            "dead": 300,
            "dead_statuses": {"503": 300},
        },
        "lost": 0,
        "unexplained": 0,
    },
}
