"""The waits before a notification is tried again.

After failures the wait grows exponentially, with full jitter and a cap. The wait is never shorter than the vendor asked
for, up to the cap.

    wait = max(U * min(cap, base * 2^waits), retry_after), U uniform in [0, 1)

This is "full jitter" of the AWS architecture note on exponential backoff. The exponent has a limit, so that wait number
10,000 does not overflow.

If every vendor of the chain refused the message, the waits are minutes and then hours. A greylisting relay needs
minutes (RFC 6647). RFC 5321 section 4.5.4.1 asks for at least 30 minutes between later tries.
"""

from __future__ import annotations

from dataclasses import dataclass

REFUSED_WAITS_S = (60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)

LAST_TRY_S = 2.0
"""A notification is not tried again if fewer seconds than this are left of its time to live."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The limits of retries.

    Attributes:
        attempts_max: how many attempts may have reached a vendor, counted over all vendors together. Each further
            attempt may mean a repeat for the recipient.
        base_s, cap_s: the upper limits of the first wait after a failure, and of every wait.
        hold_s: how long a held notification waits for proof.
        refused_waits_s: the waits after the first, second, … time that every vendor refused; the last one repeats.
    """

    attempts_max: int = 8
    base_s: float = 1.0
    cap_s: float = 300.0
    hold_s: float = 3600.0
    refused_waits_s: tuple[float, ...] = REFUSED_WAITS_S


def backoff_s(attempt: int, policy: RetryPolicy, chance: float, retry_after_s: float | None = None) -> float:
    """Return the seconds to wait after attempt number `attempt` (at least 1).

    `chance` in [0, 1) is the caller's randomness. The wait is at least `retry_after_s`, as far as the policy's cap
    allows.
    """
    exponent = min(max(attempt - 1, 0), 60)
    wait = chance * min(policy.cap_s, policy.base_s * 2.0**exponent)
    if retry_after_s is not None:
        wait = max(wait, min(retry_after_s, policy.cap_s))
    return wait


def refused_wait_s(times: int, policy: RetryPolicy, chance: float) -> float:
    """Return the seconds to wait before the next try of a message that every vendor has refused.

    `times` (at least 0) is the number of earlier rounds in which every vendor refused the message. The wait is up to a
    fifth longer than configured, so that many messages do not come back together. The wait is never shorter than
    configured, because greylisting counts from the first try.
    """
    waits_s = policy.refused_waits_s
    return waits_s[min(times, len(waits_s) - 1)] * (1 + 0.2 * chance)


def within_life_ms(wait_ms: int, left_ms: int) -> int | None:
    """Return the wait, shortened so that one more try fits into the time to live.

    Return None if too little time is left. `left_ms` is the rest of the time to live.
    """
    if wait_ms < left_ms:
        return wait_ms
    return None if left_ms < LAST_TRY_S * 1000 else int(left_ms * 0.9)


def relisten_s(chance: float) -> float:
    """Return the seconds to wait before subscribing to the store's messages again: 0.1 to 0.3, by `chance`.

    The random part keeps all processes from connecting to a new Redis at the same moment.
    """
    return 0.1 + 0.2 * chance
