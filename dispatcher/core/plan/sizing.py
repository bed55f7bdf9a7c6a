"""The size of a vendor's pool of actors: large enough for the present rate, and to work off the backlog in time.

Rules:

1. The pool must be able to make the present calls, and to work off the backlog within `CATCH_UP_S`. Without a backlog,
   the rate of calls is the rate of arrivals, so nothing else needs to be measured.
2. The pool is never larger than the vendor's contract rate needs. More actors would only wait for permits.
3. One actor makes `concurrency ÷ latency` calls a second, and at most `CALLS_MAX_PER_S`, which one core can do.
4. A pool at most doubles in one plan. Processes that start together share the cores that each of them needs to start,
   and the first of them may be enough. If they are not, the next plan asks for more.
5. A pool grows if it is busy for more than `BUSY`. It shrinks if a smaller pool would be busy for less than `IDLE`.
   Otherwise it keeps its size, because each change is a new plan and a new process.
"""

from __future__ import annotations

import math

CATCH_UP_S = 2.0
BUSY, IDLE = 0.8, 0.5
CALLS_MAX_PER_S = 800.0
"""The most calls a second that one actor makes on one core.

A call costs 0.6 ms of CPU (`python -m benchmarks.dispatch_cost`), and half the core is left for bursts.
"""

LATENCY_UNKNOWN_S = 0.1


def pool_size(
    calls_per_s: float,
    latency_s: float,
    backlog: int,
    *,
    concurrency: int,
    rate_per_s: float | None,
    live: int,
    least: int,
    most: int,
) -> int:
    """Return the number of actors that a pool needs, from `least` to `most`.

    `calls_per_s` is the present rate of all its actors. `latency_s` is the mean duration of a call; 0 means that it is
    not known yet.
    """
    needed_per_s = calls_per_s + backlog / CATCH_UP_S
    each_per_s = min(CALLS_MAX_PER_S, concurrency / (latency_s or LATENCY_UNKNOWN_S))
    grown, kept = (math.ceil(needed_per_s / (each_per_s * share)) for share in (BUSY, IDLE))
    usable = most if rate_per_s is None else math.ceil(rate_per_s / (each_per_s * BUSY))
    return max(least, min(most, usable, max(grown, min(kept, live)), 2 * max(live, 1)))
