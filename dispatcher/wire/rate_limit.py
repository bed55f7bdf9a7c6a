"""The HTTP fields that tell a tenant its accept rate, by draft-ietf-httpapi-ratelimit-headers-11.

The accept rate is a token bucket. `RateLimit-Policy` gives the limit: a full bucket grants `q` triggers, and an empty
bucket is full again after `w` seconds. `RateLimit` gives the present state: `r` triggers may come now, and the bucket
is full after `t` seconds without a trigger.
"""

from __future__ import annotations

import math

from dispatcher.core.limits.accept_rate import AcceptRate, Quota

POLICY = "accept"
"""The name of the accept rate in these fields. There is no other policy."""

Fields = tuple[tuple[bytes, bytes], ...]


def rate_limit_fields(rate: AcceptRate, quota: Quota) -> Fields:
    """Return the two HTTP fields about the tenant's rate, RateLimit-Policy and RateLimit, each as (name, value)."""
    return (
        (b"ratelimit-policy", f'"{POLICY}";q={rate.burst};w={rate.window_s}'.encode()),
        (b"ratelimit", f'"{POLICY}";r={quota.left};t={math.ceil(quota.full_ms / 1000)}'.encode()),
    )
