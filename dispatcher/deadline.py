"""`timeout` ends a block at a deadline; `expired` tells that deadline from a TimeoutError that came out of the block.

CPython has both from 3.11 on. Under 3.10 they come from `async-timeout`, which the same people keep and Redis' client
brings along. There `asyncio.TimeoutError` is neither the built-in TimeoutError nor an OSError: name it where you catch.
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
