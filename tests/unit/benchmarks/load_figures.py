"""Figures of the benchmarks of load in which nothing is missed, made up for the tests of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks import results

LOAD: Mapping[str, Mapping[str, Any]] = {
    "peak": {
        "rate_per_s": 1157.0,
        "peak_p99_ms": results.spread([20.0, 25.0, 90.0]),
        "peak_late_s": results.spread([0.5, 1.0, 2.0]),
        "after_p99_ms": results.spread([4.0, 5.0, 6.0]),
        "peak_first_try": results.spread([1.0, 0.9995, 1.0], 4),
        "after_first_try": results.spread([1.0, 1.0, 1.0]),
        "delivered_per_s": results.spread([1140.0, 1150.0, 1155.0]),
        "lost": results.spread([0, 0, 0]),
    },
    "fair_tenants": {
        **{f"{name}_p99_ratio": results.spread([1.2, 1.5, 2.5]) for name in ("accept", "delivery")},
        **{f"{name}_p99_idle_ms": results.spread([10.0, 12.0, 14.0]) for name in ("accept", "delivery")},
        **{f"{name}_p99_flood_ms": results.spread([15.0, 18.0, 30.0]) for name in ("accept", "delivery")},
        "queued": results.spread([999_000, 999_500, 1_000_000]),
        "left": results.spread([900_000, 910_000, 920_000]),
        "flood_sent_per_s": results.spread([800.0, 820.0, 840.0]),
    },
}
