"""The callers outside the cluster. They post triggers steadily to several hosts in turn, and retry at another host.

    python -m tests.cluster.client ORDER.json

ORDER has hosts (URLs), rate_per_s, bodies (a list of [key, body]), api_key and try_s. When all triggers have their
answer, one JSON row is printed for each: see `Row`. A status of 0 means that no answer came.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.rehearsal.load import RETRIED, _Countdown, _head, _request, _when_due
from cluster.rehearsal.load_connection import Pool

GIVE_UP_S = 60.0


@dataclass
class Row:
    """One trigger as its caller saw it: when it was due, which hosts were tried, and how each answered. Times are epoch
    seconds.
    """

    key: str
    due_s: float
    recipient: dict[str, Any]
    first_host: str
    accepted_s: float | None = None
    trigger_id: str | None = None
    tries: int = 0
    first_status: int = -1
    statuses: list[int] = field(default_factory=list)
    problem: str = ""
    """The body of the last answer that was no 202."""


class Caller:
    """Tries one trigger at one host after another, until it is accepted, refused or given up."""

    def __init__(self, row: Row, requests: list[tuple[Pool, bytes]], try_s: float, over: _Countdown) -> None:
        self._row, self._requests, self._try_s, self._over = row, requests, try_s, over

    def begin(self) -> None:
        pool, request = self._requests[self._row.tries % len(self._requests)]
        self._row.tries += 1
        pool.post(request, self._try_s, self._answered)

    def _answered(self, status: int, body: bytes) -> None:
        row, now_s = self._row, time.time()
        if status == 202:
            row.trigger_id, row.accepted_s = json.loads(body)["id"], now_s
        else:
            row.problem = body.decode(errors="replace")
        row.statuses.append(status)
        if row.tries == 1:
            row.first_status = status
        if (status == 0 or status in RETRIED) and now_s - row.due_s < GIVE_UP_S:
            asyncio.get_running_loop().call_later(min(1.0, 0.1 * 2 ** (row.tries - 1)), self.begin)
        else:
            self._over.less()


async def post(order: dict[str, Any]) -> list[Row]:
    """Post all triggers and wait until each has its answer. Return one row for each trigger."""
    hosts, bodies = order["hosts"], order["bodies"]
    pools = [Pool(host) for host in hosts]
    began_s = time.time() + 0.2
    dues_s = [began_s + n / order["rate_per_s"] for n in range(len(bodies))]
    over = _Countdown(len(bodies))
    rows, callers = [], []
    for n, (key, body) in enumerate(bodies):
        turn = pools[n % len(pools) :] + pools[: n % len(pools)]
        requests = [(pool, _request(_head(pool, order.get("api_key")), key, body)) for pool in turn]
        rows.append(Row(key, dues_s[n], body["recipient"], turn[0].host))
        callers.append(Caller(rows[-1], requests, order.get("try_s", 2.0), over))
    with _when_due(dues_s, lambda n: callers[n].begin()):
        await over.over.wait()
    for pool in pools:
        pool.close()
    return rows


if __name__ == "__main__":
    for row in asyncio.run(post(json.loads(Path(sys.argv[1]).read_text()))):
        print(json.dumps(asdict(row)))
