"""An open-loop client: posts triggers when they are due, whatever happened to those before.

Latency counts from the due time, so that a stall is seen by everything that was due in it. It retries connection
errors, 408, 429 and 5xx with the same key, as callers are told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
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
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=TRY_S), headers=headers
    ) as session:
        began_s = time.time() + 0.05
        dues_s = [began_s + n / rate_per_s for n in range(len(bodies))]
        tasks = []
        async for n in _when_due(dues_s):
            key, body = bodies[n]
            tasks.append(asyncio.ensure_future(_post(session, api, key, body, dues_s[n], on_done)))
        return list(await asyncio.gather(*tasks))


async def _when_due(dues_s: Sequence[float]) -> AsyncIterator[int]:
    """Each index at its time. A thread waits for it: the loop's own timers are rounded up to whole milliseconds."""
    loop, ticks, stop = asyncio.get_running_loop(), asyncio.Queue[int](), threading.Event()

    def tick() -> None:
        for n, due_s in enumerate(dues_s):
            if stop.wait(max(0.0, due_s - time.time())):
                return
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(ticks.put_nowait, n)

    thread = threading.Thread(target=tick, name="due", daemon=True)
    thread.start()
    try:
        for _ in dues_s:
            yield await ticks.get()
    finally:
        stop.set()


async def _post(
    session: aiohttp.ClientSession,
    api: str,
    key: str,
    body: dict[str, Any],
    due_s: float,
    on_done: Callable[[Posted], None],
) -> Posted:
    posted, data = Posted(key, due_s, sent_s=time.time(), recipient=body["recipient"]), json.dumps(body).encode()
    while time.time() - due_s < GIVE_UP_S:
        posted.tries += 1
        await _try(session, api, data, posted)
        if posted.tries == 1:
            posted.first_status = posted.status
        if posted.status not in RETRIED and posted.status != 0:
            break
        await asyncio.sleep(min(1.0, 0.1 * posted.tries))
    on_done(posted)
    return posted


async def _try(session: aiohttp.ClientSession, api: str, data: bytes, posted: Posted) -> None:
    try:
        async with session.post(f"{api}/v1/triggers", data=data, headers={"Idempotency-Key": posted.key}) as answer:
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
