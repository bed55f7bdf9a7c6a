"""When to try again: exponential, full jitter, capped, never sooner than the vendor asked.

wait = max(U * min(cap, base * 2^(round - 1)), retry_after), U uniform in [0, 1): "full jitter" of the AWS architecture
note on exponential backoff. The power saturates, so that round 10,000 does not overflow.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long. `attempts_max` counts calls over all vendors; `hold_s` is how long `held` waits."""

    attempts_max: int = 8
    base_s: float = 1.0
    cap_s: float = 300.0
    hold_s: float = 3600.0


def backoff_s(attempt: int, policy: RetryPolicy, chance: float, retry_after_s: float | None = None) -> float:
    """Seconds until the try after `attempt` (>= 1). `chance` in [0, 1) is the caller's randomness."""
    exponent = min(max(attempt - 1, 0), 60)
    wait = chance * min(policy.cap_s, policy.base_s * 2.0**exponent)
    if retry_after_s is not None:
        wait = max(wait, min(retry_after_s, policy.cap_s))
    return wait


def relisten_s(chance: float) -> float:
    """How long to wait before subscribing again, 0.1 to 0.3 s: a Redis that comes back meets all of us at once."""
    return 0.1 + 0.2 * chance
