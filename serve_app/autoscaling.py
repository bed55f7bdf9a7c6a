"""Decides how large Serve makes a pool.

The policies run on the controller's own loop, so they never block and import little.

The plan decides the size of a vendor pool. Its actors report that size, and `forward` passes it on. No plan decides the
size of intake: `intake_size` follows the number of open requests, as Serve would, but grows only where it helps.
"""

from __future__ import annotations

import math
from typing import Any

ROOM_CORES = 0.5
"""An intake replica costs 3 s of a core to start, while checkouts wait for those at work."""

OWN_CORE = 0.6
"""Cores that a replica uses when its own loop is the limit, and not the store or the machine."""


def forward(ctx: Any) -> tuple[int, dict[str, Any]]:
    """Return the largest size that a running actor reports.

    Without a report the size stays as it is, because a crash must not shrink a pool.
    """
    wishes = _told(ctx, "replicas")
    return max(map(int, wishes), default=ctx.target_num_replicas), {}


def intake_size(ctx: Any) -> tuple[int, dict[str, Any]]:
    """Return one replica more if requests pile up, the replicas use up their own cores, and a core is free.

    Else the size stays as it is. Intake does not grow before each vendor has had an actor. Otherwise clients that wait
    for a start would make the start longer.
    """
    live, now = ctx.current_num_replicas, ctx.target_num_replicas
    if not live:
        return now, {}
    wanted = math.ceil(ctx.total_num_requests / ctx.config.get_target_ongoing_requests())
    if wanted <= now:
        return wanted, {}
    cpu, free = _told(ctx, "cpu"), _told(ctx, "free_cores")
    if not cpu or not free:
        return now, {}
    helps = sum(cpu) / len(cpu) + max(_told(ctx, "waiting"), default=0.0) >= OWN_CORE
    room = max(free) >= max(ROOM_CORES, sum(cpu) / len(cpu))
    complete = min(_told(ctx, "start_complete"), default=0.0) > 0
    return now + int(helps and room and complete and now <= live), {}


def _told(ctx: Any, name: str) -> list[float]:
    """Return the latest value that each running replica reported under `name`."""
    values = (_latest(value) for value in (ctx.aggregated_metrics or {}).get(name, {}).values())
    return [value for value in values if value is not None]


def _latest(value: Any) -> float | None:
    """Return the latest value. Ray gives a number, or a series of samples."""
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return float(getattr(value[-1], "value", value[-1]))
    except (TypeError, IndexError, ValueError):
        return None
