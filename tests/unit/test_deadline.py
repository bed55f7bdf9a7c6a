"""Checks that a deadline which has passed is told apart from a TimeoutError that the code inside raises, on every
CPython that we promise.
"""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.deadline import expired, timeout
from tests.virtual import virtual


@virtual
async def test_a_block_that_outlasts_its_deadline_is_ended() -> None:
    """A block that runs longer than its deadline ends with asyncio's TimeoutError, and `expired` returns True."""
    began_s = asyncio.get_running_loop().time()
    deadline = timeout(2.0)
    with pytest.raises(asyncio.TimeoutError):
        async with deadline:
            await asyncio.sleep(60.0)
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(2.0)
    assert expired(deadline)


@pytest.mark.parametrize("error", [TimeoutError, asyncio.TimeoutError, ValueError])
def test_an_error_of_the_block_is_not_its_deadline(error: type[Exception]) -> None:
    """An error that a block raises before its deadline comes out unchanged, and `expired` returns False."""

    @virtual
    async def scene() -> None:
        deadline = timeout(2.0)
        with pytest.raises(error):
            async with deadline:
                await asyncio.sleep(1.0)
                raise error
        assert not expired(deadline)

    scene()


@virtual
async def test_a_block_that_ends_in_time_leaves_nothing_behind() -> None:
    """A block with a deadline ends in time. When the deadline passes later, nothing happens."""
    async with timeout(2.0) as deadline:
        await asyncio.sleep(1.0)
    await asyncio.sleep(5.0)
    assert not expired(deadline)
