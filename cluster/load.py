"""An open-loop client: posts triggers when they are due, whatever happened to those before.

Latency counts from the due time, so that a stall is seen by everything that was due in it. It retries connection
errors, 408, 429 and 5xx with the same key, as callers are told to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

RETRIED = {408, 429, 500, 502, 503, 504}
TRY_S = 3.0
GIVE_UP_S = 60.0


@dataclass(slots=True)
class Posted:
    """One trigger as the client saw it. Times are epoch seconds; `accepted_s` None: never acknowledged."""

    key: str
    due_s: float
    sent_s: float = 0.0
    accepted_s: float | None = None
    trigger_id: str | None = None
    status: int = 0
    tries: int = 0
    first_status: int = 0
    problem: dict[str, Any] = field(default_factory=dict)
    recipient: dict[str, Any] = field(default_factory=dict)


async def post_steadily(
    api: str,
    bodies: Sequence[tuple[str, dict[str, Any]]],
    rate_per_s: float,
    on_done: Callable[[Posted], None] = lambda posted: None,
    api_key: str | None = None,
) -> list[Posted]:
    """Post each (key, body) at a steady rate; answers when each was acknowledged, refused or given up."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=TRY_S), headers=headers
    ) as session:
        began = time.time() + 0.05
        tasks = []
        for n, (key, body) in enumerate(bodies):
            due = began + n / rate_per_s
            await asyncio.sleep(max(0.0, due - time.time()))
            tasks.append(asyncio.ensure_future(_post(session, api, key, body, due, on_done)))
        return list(await asyncio.gather(*tasks))


async def _post(
    session: aiohttp.ClientSession,
    api: str,
    key: str,
    body: dict[str, Any],
    due_s: float,
    on_done: Callable[[Posted], None],
) -> Posted:
    posted = Posted(key, due_s, sent_s=time.time(), recipient=body["recipient"])
    while time.time() - due_s < GIVE_UP_S:
        posted.tries += 1
        await _try(session, api, body, posted)
        if posted.tries == 1:
            posted.first_status = posted.status
        if posted.status not in RETRIED and posted.status != 0:
            break
        await asyncio.sleep(min(1.0, 0.1 * posted.tries))
    on_done(posted)
    return posted


async def _try(session: aiohttp.ClientSession, api: str, body: dict[str, Any], posted: Posted) -> None:
    try:
        async with session.post(f"{api}/v1/triggers", json=body, headers={"Idempotency-Key": posted.key}) as answer:
            found = await answer.json(content_type=None)
            posted.status = answer.status
            if answer.status == 202:
                posted.accepted_s, posted.trigger_id = time.time(), found["id"]
            elif isinstance(found, dict):
                posted.problem = found
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):
        posted.status = 0


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all values do not exceed; nan when there are none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, int(len(ordered) * share + 0.999999) - 1))]
