"""The autoscaling policies: functions with which Serve decides the size of a pool.

The policies run in the event loop of Serve's controller, so they never block and import little.

The plan decides the size of a vendor pool. The actors report this size, and `forward` returns it to Serve. The plan
does not decide the size of intake. `intake_size` follows the number of open requests, as Serve's own policy does, but
intake grows only if another replica can help.
"""

from __future__ import annotations

import math
from typing import Any

from dispatcher.core.json_object import JsonObject

ROOM_CORES = 0.5
"""The cores that must be free before intake grows. Starting a replica takes 3 s of CPU time."""

OWN_CORE = 0.6
"""A replica that uses this many cores is limited by its own event loop, and not by the store or the machine."""


def forward(ctx: Any) -> tuple[int, JsonObject]:
    """Return the largest pool size for which a running actor of the pool asks, and an empty dict.

    Vendor actors get the wanted size from the plan. If no actor reports, the size does not change, because a crash must
    not shrink a pool.
    """
    wishes = _told(ctx, "replicas")
    return max(map(int, wishes), default=ctx.target_num_replicas), {}


def intake_size(ctx: Any) -> tuple[int, JsonObject]:
    """Return the size of intake that Serve should make, and an empty dict.

    If fewer replicas are enough for the open requests, the smaller size is returned. If requests pile up, the size
    grows by one replica under three conditions: the replicas' own event loops are the limit, a core is free, and the
    start of the service is over, so that each vendor has had an actor. In any other case the size stays.
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
    """Return the latest value that each running replica reported under `name`.

    Replicas without a value are left out.
    """
    values = (_latest(value) for value in (ctx.aggregated_metrics or {}).get(name, {}).values())
    return [value for value in values if value is not None]


def _latest(value: Any) -> float | None:
    """Return the latest value of a metric that Ray gives, either as a number or as a series of samples.

    Return None for anything else.
    """
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return float(getattr(value[-1], "value", value[-1]))
    except (TypeError, IndexError, ValueError):
        return None
