"""The HTTP fields that tell a tenant its accept rate, as draft-ietf-httpapi-ratelimit-headers-11 has them.

`RateLimit-Policy` is what is agreed: `q` triggers after a pause, and an empty bucket is full again after `w` seconds.
`RateLimit` is what is left of it: `r` triggers now, and all of them after `t` seconds without a trigger.
"""

from __future__ import annotations

import math

from dispatcher.core.limits.accept_rate import AcceptRate, Quota

POLICY = "accept"
"""The name of the only policy."""

Fields = tuple[tuple[bytes, bytes], ...]


def rate_limit_fields(rate: AcceptRate, quota: Quota) -> Fields:
    """Return the names and values of the two fields."""
    return (
        (b"ratelimit-policy", f'"{POLICY}";q={rate.burst};w={rate.window_s}'.encode()),
        (b"ratelimit", f'"{POLICY}";r={quota.left};t={math.ceil(quota.full_ms / 1000)}'.encode()),
    )
