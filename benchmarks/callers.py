"""Posts triggers at a steady rate for callers that know several hosts. All callers use the same host at a time, the
current host.

If the current host does not accept a trigger, the trigger is repeated at the next host, which becomes the current host.
With `roam=False`, only the code that uses this module changes the current host. With `watch_s`, the current host
changes as a load balancer would change it: /readyz of every host is asked every `watch_s` seconds, and the callers
leave a host that is not ready. With `patience`, the callers repeat as docs/api.md asks, and give up only after the
`with` block (`benchmarks.patience`).

The posting has a thread of its own and lasts until the end of the `with` block. A trigger is posted at its due time,
even if earlier triggers have no answer.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Sequence

import uvloop

from benchmarks.patience import Patience, PatientPool, go_first
from cluster.rehearsal.checkouts import Checkout
from cluster.rehearsal.load import RETRIED, Posted, _head, _request
from cluster.rehearsal.load_connection import Pool

TRY_S = 3.0
GIVE_UP_S = 60.0
WAITS_S = (0.1, 0.2, 0.4, 0.8, 1.0)


class Callers:
    """Posts `body_of(n)` for n = 0, 1, … at a steady rate, inside the `with` block. `posted` holds every trigger."""

    def __init__(
        self,
        hosts: Sequence[str],
        rate_per_s: float,
        body_of: Callable[[int], tuple[str, Checkout]],
        *,
        roam: bool = True,
        watch_s: float | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Prepare the callers for the services at `hosts`. The first trigger goes to the first host.

        With `roam`, the callers try the next host after a failure. Without `roam`, they repeat the trigger at the same
        host, until the user of this class assigns another index to `self.host`. With `watch_s`, the callers ask /readyz
        of every host every `watch_s` seconds, and leave a host that is not ready. With `patience`, it says how long a
        caller waits before it repeats.
        """
        self.roam, self._watch_s, self.patience = roam, watch_s, patience
        self._left_s = math.inf
        self.posted: list[Posted] = []
        self.aimed: list[int] = []
        """For each trigger of `posted`, the index of the host that got it first."""
        self.host = 0
        """The index of the host that gets the next trigger. Setting it moves the callers to another host."""
        self._hosts, self.rate_per_s, self._body_of = list(hosts), rate_per_s, body_of
        self._stopped, self._begun = threading.Event(), threading.Event()
        self._calls = 0
        run = asyncio.run if patience is None else uvloop.run
        self._thread = threading.Thread(target=lambda: run(self._run()), name="callers", daemon=True)

    def __enter__(self) -> Callers:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop posting new triggers, and wait until each posted trigger was acknowledged, refused or given up."""
        self._left_s = time.time()
        self._stopped.set()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """How many triggers are posted and have no final answer yet."""
        return self._calls

    def come(self, bodies: Sequence[tuple[str, Checkout]]) -> None:
        """Post these triggers now, all at once, besides the steady ones. Return before any of them is answered."""

        def begin() -> None:
            for key, body in bodies:
                self._begin(key, body, time.time())

        self._loop.call_soon_threadsafe(begin)

    def gives_up(self, posted: Posted, now_s: float) -> bool:
        """Return True if a caller does not repeat this trigger any more at `now_s`, in epoch seconds.

        A caller gives up `GIVE_UP_S` after the due time. A patient caller gives up `GIVE_UP_S` after the end of the
        `with` block.
        """
        return now_s - (posted.due_s if self.patience is None else self._left_s) > GIVE_UP_S

    async def _run(self) -> None:
        self._answered, self._loop = asyncio.Event(), asyncio.get_running_loop()
        if self.patience is not None:
            go_first()
        self._pools = pools = [Pool(host) if self.patience is None else PatientPool(host) for host in self._hosts]
        self._begun.set()
        watching = None if self._watch_s is None else asyncio.ensure_future(self._watch(pools, self._watch_s))
        began_s, count = time.time() + 0.05, 0
        try:
            while not self._stopped.is_set():
                due_s = began_s + count / self.rate_per_s
                await asyncio.sleep(max(0.0, due_s - time.time()))
                self._begin(*self._body_of(count), due_s)
                count += 1
            while self._calls:
                self._answered.clear()
                await self._answered.wait()
        finally:
            if watching is not None:
                watching.cancel()
            for pool in pools:
                pool.close()

    async def _watch(self, pools: Sequence[Pool], every_s: float) -> None:
        """Until cancelled, watch the current host. Whenever it is not ready, move the callers to the next ready
        host.
        """
        while True:
            ready = await asyncio.gather(*(_ready(pool) for pool in pools))
            for step in range(len(pools)):
                host = (self.host + step) % len(pools)
                if ready[host]:
                    self.host = host
                    break
            await asyncio.sleep(every_s)

    def _begin(self, key: str, body: Checkout, due_s: float) -> None:
        one = Posted(key, due_s, recipient=body["recipient"], sent_s=time.time())
        self.posted.append(one)
        self.aimed.append(self.host)
        self._calls += 1
        _Call(self, self._pools, one, body).begin()

    def done(self) -> None:
        """Note that the call for one trigger has ended, so that one call fewer is open."""
        self._calls -= 1
        self._answered.set()


async def _ready(pool: Pool) -> bool:
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    request = f"GET /readyz HTTP/1.1\r\nHost: {pool.host}:{pool.port}\r\n\r\n".encode()
    pool.post(request, TRY_S, lambda status, body: found.set_result(status))
    return await found == 200


class _Call:
    """Posts one trigger. It tries one host after another until the trigger is acknowledged, refused or given up."""

    def __init__(self, callers: Callers, pools: Sequence[Pool], posted: Posted, body: Checkout) -> None:
        self._callers, self._pools, self._posted, self._body = callers, pools, posted, body
        self._host = callers.host
        self._request: bytes | None = None
        self._written_for: Pool | None = None

    def begin(self) -> None:
        self._posted.tries += 1
        pool = self._pools[self._host]
        if self._request is None or self._written_for is not pool:  # writing it again would cost as much as sending it
            self._request, self._written_for = _request(_head(pool, None), self._posted.key, self._body), pool
        pool.post(self._request, TRY_S, self._answered)

    def _answered(self, status: int, body: bytes) -> None:
        posted, now_s = self._posted, time.time()
        posted.status = status
        if posted.tries == 1:
            posted.first_status = status
        if status == 202:
            posted.accepted_s, posted.trigger_id = now_s, json.loads(body)["id"]
        elif body and status not in RETRIED:
            posted.problem = {"answer": body.decode(errors="replace")}
        if (status != 0 and status not in RETRIED) or self._callers.gives_up(posted, now_s):
            self._callers.done()
            return
        if self._callers.patience is None:
            wait_s = WAITS_S[min(posted.tries, len(WAITS_S)) - 1]
        else:
            wait_s = self._callers.patience.wait_s(posted.tries, self._pools[self._host].retry_after_s)
        if self._callers.roam:
            self._callers.host = (self._host + 1) % len(self._pools)
        self._host = self._callers.host
        asyncio.get_running_loop().call_later(wait_s, self.begin)
