"""An open-loop client. It posts each trigger when the trigger is due, even if earlier triggers have no answer yet.

Latency is counted from the due time. So a stall of the service shows in every trigger that was due during the stall. As
callers should, the client retries connection errors, 408, 429 and 5xx with the same key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.rehearsal.load_connection import Pool
from dispatcher.core.json_object import JsonObject

RETRIED = {408, 429, 500, 502, 503, 504}
TRY_S = 3.0
GIVE_UP_S = 60.0
RETRY_S_MAX = 3.0
"""The longest pause between two tries. The pauses are 0.1, 0.2, 0.4 … seconds.

Hundreds of clients that all retried within a second would use the cores that `up` needs for its start.
"""

REFUSED_MS = 15_000.0
"""The wait in milliseconds that a trigger without a 202 counts as. Without it, a service that refuses would look fast.
"""


@dataclass(slots=True)
class Posted:
    """One trigger as the client saw it.

    Times are epoch seconds. `accepted_s` is None if the trigger was never acknowledged. A `status` of 0 means no
    answer.
    """

    key: str
    due_s: float
    sent_s: float = 0.0
    accepted_s: float | None = None
    trigger_id: str | None = None
    status: int = 0
    tries: int = 0
    first_status: int = 0
    problem: JsonObject = field(default_factory=dict)
    recipient: Mapping[str, str] = field(default_factory=dict)

    @property
    def accept_ms(self) -> float | None:
        """The milliseconds from the due time to the 202, or None if the trigger was never acknowledged."""
        return None if self.accepted_s is None else (self.accepted_s - self.due_s) * 1000


async def post_steadily(
    api: str,
    bodies: Sequence[tuple[str, Mapping[str, Any]]],
    rate_per_s: float,
    on_done: Callable[[Posted], None] = lambda posted: None,
    *,
    api_key: str | None = None,
    give_up_s: float = GIVE_UP_S,
) -> list[Posted]:
    """Post each (key, body) at a steady rate. Wait until each trigger was acknowledged, refused or given up.

    A trigger is not tried again when it was due more than `give_up_s` seconds ago. With 0 each trigger is tried once,
    so that retries cannot make an overload worse.
    """
    pool = Pool(api)
    head = _head(pool, api_key)
    requests = [_request(head, key, body) for key, body in bodies]  # made now, because it costs as much as sending
    began_s = time.time() + 0.05
    dues_s = [began_s + n / rate_per_s for n in range(len(bodies))]
    posted = [
        Posted(key, due_s, recipient=body["recipient"]) for (key, body), due_s in zip(bodies, dues_s, strict=True)
    ]
    open_calls = _Countdown(len(posted))

    def done(one: Posted) -> None:
        on_done(one)
        open_calls.less()

    try:
        with _when_due(dues_s, lambda n: _Call(pool, requests[n], posted[n], done, give_up_s=give_up_s).begin()):
            await open_calls.over.wait()
    finally:
        pool.close()
    return posted


async def post_in_turn(
    api: str, bodies: Iterator[tuple[str, Mapping[str, Any]]], clients: int, seconds: float
) -> list[Posted]:
    """Post `bodies` with several clients. Each client posts the next body when its last one was answered.

    The posting stops after `seconds`, or when `bodies` has no more. The measured latencies mean nothing, because a slow
    service gets fewer requests.
    """
    pool, posted, until_s = Pool(api), list[Posted](), time.time() + seconds
    head, open_clients = _head(pool, None), _Countdown(clients)

    def next_one(_: Posted | None = None) -> None:
        sent = next(bodies, None) if time.time() < until_s else None
        if sent is None:
            open_clients.less()
            return
        key, body = sent
        posted.append(Posted(key, time.time(), recipient=body["recipient"]))
        _Call(pool, _request(head, key, body), posted[-1], next_one, give_up_s=GIVE_UP_S).begin()

    try:
        for _ in range(clients):
            next_one()
        await open_clients.over.wait()
    finally:
        pool.close()
    return posted


class _Countdown:
    """Sets the event `over` when `less` has been called `count` times."""

    def __init__(self, count: int) -> None:
        self._left, self.over = count, asyncio.Event()
        if not count:
            self.over.set()

    def less(self) -> None:
        self._left -= 1
        if not self._left:
            self.over.set()


def _head(pool: Pool, api_key: str | None) -> bytes:
    authorization = f"Authorization: Bearer {api_key}\r\n" if api_key else ""
    lines = ("POST /v1/triggers HTTP/1.1", f"Host: {pool.host}:{pool.port}", "Content-Type: application/json")
    return ("\r\n".join(lines) + "\r\n" + authorization).encode()


def _request(head: bytes, key: str, body: Mapping[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    return b"%sIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n%s" % (head, key.encode(), len(data), data)


@contextlib.contextmanager
def _when_due(dues_s: Sequence[float], begin: Callable[[int], None]) -> Iterator[None]:
    """Call `begin` with each index at its due time, inside the `with` block.

    A thread waits for the times, because the event loop's own timers are rounded up to milliseconds.
    """
    loop, stop = asyncio.get_running_loop(), threading.Event()

    def tick() -> None:
        for n, due_s in enumerate(dues_s):
            if stop.wait(max(0.0, due_s - time.time())):
                return
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(begin, n)

    threading.Thread(target=tick, name="due", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


class _Call:
    """One trigger that is being posted. It is tried until it is acknowledged, refused, or due more than
    `give_up_s` ago.
    """

    __slots__ = ("_done", "_give_up_s", "_pool", "_posted", "_request")

    def __init__(
        self, pool: Pool, request: bytes, posted: Posted, done: Callable[[Posted], None], *, give_up_s: float
    ) -> None:
        self._pool, self._request, self._posted, self._done = pool, request, posted, done
        self._give_up_s = give_up_s

    def begin(self) -> None:
        self._posted.sent_s = time.time()
        self._try()

    def _try(self) -> None:
        self._posted.tries += 1
        self._pool.post(self._request, TRY_S, self._answered)

    def _answered(self, status: int, body: bytes) -> None:
        posted, now_s = self._posted, time.time()
        posted.status = status
        try:
            found: Any = json.loads(body) if body else None
            if status == 202:
                posted.accepted_s, posted.trigger_id = now_s, found["id"]
            elif isinstance(found, dict):
                posted.problem = found
        except (ValueError, TypeError, KeyError):  # HAProxy's own pages are no JSON; a 202 without an id is no 202
            posted.status = 0 if status == 202 else status
        if posted.tries == 1:
            posted.first_status = posted.status
        if (posted.status in RETRIED or posted.status == 0) and now_s - posted.due_s < self._give_up_s:
            asyncio.get_running_loop().call_later(min(RETRY_S_MAX, 0.1 * 2 ** (posted.tries - 1)), self._try)
        else:
            self._done(posted)


def waited_ms(posted: Sequence[Posted]) -> list[float]:
    """Return for each trigger the milliseconds from its due time to its 202, or `REFUSED_MS` if it got none."""
    return [REFUSED_MS if p.accept_ms is None else p.accept_ms for p in posted]


def first_try(posted: Sequence[Posted]) -> float:
    """Return the share of the triggers that were accepted at their first try; 0 of no triggers."""
    return sum(p.first_status == 202 for p in posted) / max(1, len(posted))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that the given share of all values does not exceed, or nan if `values` is empty."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, int(len(ordered) * share + 0.999999) - 1))]
