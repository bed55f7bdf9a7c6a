"""The circuit breaker of a vendor: when calls stop, when they start again, and what counts as evidence.

Start at `breaker`, a state machine without clock, lock or IO. `per_country` adds a smaller breaker for each country.

Rules:

1. Time is an argument (`now_ns`, monotonic). The breaker notes events, and the caller collects them (`drain_events`).
2. Every transition raises `generation` by exactly one, also a reset and a transition into the same state.
3. A permit has the generation in which it was granted. A result of an earlier generation is *late*: it is not counted
   and causes no transition.
4. The breaker decides only when a success or a failure is recorded. Time alone never opens it, with one exception: a
   call that is in flight for too long counts as slow before it ends (stall detection).
5. When the breaker leaves a state, also by a reset, that state's timer is cancelled.
6. Recovery goes through stages: first probes, then growing shares of the former traffic. The state stays `half_open` in
   all of them, and `share` is the present share. Each stage is a generation of its own, and ends with a decision: a bad
   stage opens the breaker, a good one is followed by the next.
7. A probing stage ends by its decision or by its timer. If no result was counted by then, another probing stage begins.
   A permit that is given back is granted again, but a stage grants at most `probe_grants` times its permits.
8. A process may die. `snapshot` and `restore` carry the state to another process, as durations and without permits.

| state | are calls permitted? | do results count, and what can they do? | leaves the state by itself |
|---|---|---|---|
| closed | yes | yes, may open | no |
| open | after the wait | no (with `late=COUNT` they count, but do nothing) | after the wait, by `acquire` or timer |
| half_open | while the stage has permits | yes, may open or close | by a decision or the timer |
| disabled | yes | no | no |
| metrics_only | yes | yes, only events | no |
| forced_open | no | no | no |

With `late=COUNT` and without the extras, the breaker behaves bit for bit as resilience4j 2.4.0 does. Recorded vectors
check this (`tests/data`). Each extra has a switch in `BreakerConfig`: consecutive failures, jitter, a separate minimum
for half-open, probe leases (a lost probe counts as failed when its lease ends), stall detection, early verdict, memory
of former openings, staged recovery.
"""
