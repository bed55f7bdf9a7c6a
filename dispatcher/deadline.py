"""Deadlines for blocks of code. `timeout` ends a block at its deadline.

`expired` tells a passed deadline from another TimeoutError that was raised inside the block. CPython has both functions
from 3.11 on. For 3.10 they come from the package `async-timeout`, which the Redis client needs anyway. In 3.10,
`asyncio.TimeoutError` is neither the built-in TimeoutError nor an OSError, so name it where you catch.
"""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from asyncio import Timeout, timeout
else:
    from async_timeout import Timeout, timeout

__all__ = ["Timeout", "expired", "timeout"]


def expired(deadline: Timeout) -> bool:
    """Return True if this deadline has passed while its block ran."""
    if sys.version_info >= (3, 11):
        return deadline.expired()
    return bool(deadline.expired)
