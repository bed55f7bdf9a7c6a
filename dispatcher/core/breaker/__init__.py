"""The circuit breaker of a vendor: when calls stop, when they start again, and what counts as evidence.

Start at `breaker`, a state machine without clock, lock or IO. `per_country` adds a smaller breaker for each country.

Rules:

1. Time (`now_ns`, monotonic) is an argument. The caller collects what happened as events (`drain_events`).
2. `generation` rises by exactly one for each new state object: every transition, same-kind ones and reset included.
3. A permit carries the generation that granted it. A result for an older generation is *late*: it is not counted and
   causes no transition.
4. The breaker reaches a verdict only when a result is recorded, be it a success or a failure. Passing time opens
   nothing, with one exception: calls in flight for too long already count as slow (stall detection).
5. Leaving a state cancels its timer, also by reset.
6. Recovery from half-open has stages: probes first, then growing shares of the former traffic. Each stage is a
   generation with its own verdict. The state stays `half_open`, `share` is the current share, a bad verdict opens.
7. A probing stage ends by its verdict or by its timer. A permit that is given back is granted again, but a stage grants
   at most `probe_grants` times its permits. If no result was counted by its end, the next probing stage begins.
8. A process may die. `snapshot` and `restore` carry the state to another process, as durations and without permits.

| state | acquire | result recorded, evaluated | leaves by itself |
|---|---|---|---|
| closed | granted | yes → open | no |
| open | refused until the wait is over | no (`late=COUNT`: recorded, not evaluated) | acquire after it, timer at it |
| half_open | while permits last | yes → open or closed | verdict, timer |
| disabled | granted | no | no |
| metrics_only | granted | yes, events only | no |
| forced_open | refused | no | no |

With `late=COUNT` and the extras off, the breaker behaves bit for bit as resilience4j 2.4.0 does. Recorded vectors
check this (`tests/data`). Each extra has a switch in `BreakerConfig`: consecutive failures, jitter, a separate minimum
for half-open, probe leases (a lost probe counts as failed when its lease ends), stall detection, early verdict, memory
of former openings, staged recovery.
"""
