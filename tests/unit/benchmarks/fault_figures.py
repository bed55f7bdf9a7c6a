"""Figures of the benchmarks of faults in which nothing is missed, made up for the tests of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks import results

KEPT = {"lost": 0, "repeated": 3, "held": 0, "accepted": 19200, "on_unknown": "resend", "ended": 0, "rate_per_s": 40.0}
FAULTS: Mapping[str, Mapping[str, Any]] = {
    "starts": {
        **KEPT,
        "seed": 7,
        "starts": 25,
        "over_30_s": 0,
        "late": 2,
        "never_served": 0,
        "pairs_missed": [],
        "seconds_missed": [],
        "ready_s": results.spread([13.0, 14.0, 20.0]),
        "first_accept_s": results.spread([12.0, 13.0, 19.0]),
    },
    "killed_whole": {
        **KEPT,
        "clients": 5000,
        "first_accept_s": results.spread([13.0, 14.0, 16.0]),
        "last_accept_s": results.spread([20.0, 24.0, 29.0]),
    },
    "random_kills": {
        **KEPT,
        "seconds": 480.0,
        "triggers": 19200,
        "faults": 73,
        "first_try_percent": 98.5,
        "by_fault": {
            "Redis killed": {"faults": 6, "failed_first": 90},
            "HAProxy frozen": {"faults": 7, "failed_first": 9},
        },
    },
}
