"""The size of a vendor pool is decided in the plan; the actors repeat it, and this forwards it.

It runs on the Serve controller's own loop: it must never block, and imports nothing heavy.
"""

from __future__ import annotations

from typing import Any


def forward(ctx: Any) -> tuple[int, dict[str, Any]]:
    """The largest wish of the running actors; hold when nobody reports: a crash must not scale a pool down."""
    wishes = [_latest(value) for value in (ctx.aggregated_metrics or {}).get("replicas", {}).values()]
    wanted = max((int(w) for w in wishes if w is not None), default=ctx.target_num_replicas)
    return wanted, {}


def _latest(value: Any) -> float | None:
    """Ray hands out a number, or a series of samples."""
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return float(getattr(value[-1], "value", value[-1]))
    except (TypeError, IndexError, ValueError):
        return None
