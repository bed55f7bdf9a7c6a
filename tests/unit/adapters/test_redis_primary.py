"""The newest answer of a majority of the sentinels names the primary, whichever sentinel answers first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from dispatcher.adapters.redis.address import parse
from dispatcher.adapters.redis.primary import PrimaryFinder


class Sentinel:
    """A fake sentinel that answers with this primary and epoch after `turns` turns of the event loop.

    With `port` None the sentinel does not answer.
    """

    def __init__(self, port: int | None, epoch: int = 0, turns: int = 0, **flags: bool) -> None:
        self.port, self.epoch, self.turns = port, epoch, turns
        self.flags = {"is_master": True, "is_sdown": False, "is_odown": False, **flags}
        self.asked = 0

    async def sentinel_masters(self) -> dict[str, Any]:
        self.asked += 1
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.port is None:
            raise ConnectionError("away")
        state = {"ip": "h", "port": self.port, "config-epoch": self.epoch, "num-slaves": 1, "num-other-sentinels": 2}
        return {"orders": {**state, **self.flags}}


def finder(*sentinels: Sentinel) -> PrimaryFinder:
    made = PrimaryFinder(parse("redis+sentinel://a.test,b.test,c.test/orders"))
    made._sentinels.sentinels = list(sentinels)
    return made


async def test_the_first_answer_is_not_believed_alone() -> None:
    """The sentinel that answers first was cut off with the old primary and knows an older epoch.

    The answer of the other two sentinels, with a newer epoch, wins.
    """
    found = finder(Sentinel(1, epoch=1), Sentinel(2, epoch=2, turns=9), Sentinel(2, epoch=2, turns=9))
    assert await found.primary() == ("h", 2)


async def test_one_that_is_away_is_not_waited_for() -> None:
    """Two of three sentinels decide, whether the third is away or very slow."""
    assert await finder(Sentinel(None), Sentinel(2, 2), Sentinel(2, 2)).primary() == ("h", 2)
    assert await finder(Sentinel(1, 1, turns=10_000_000), Sentinel(2, 2), Sentinel(2, 2)).primary() == ("h", 2)


async def test_a_majority_that_names_no_working_primary_is_not_the_last_word() -> None:
    """The first two sentinels name no working primary: one knows an older primary, and one cannot reach the new one.

    The third sentinel, which names the new primary and reaches it, is waited for.
    """
    cannot_reach_it = Sentinel(2, epoch=2, is_sdown=True)
    found = finder(Sentinel(1, epoch=1), cannot_reach_it, Sentinel(2, epoch=2, turns=9))
    assert await found.primary() == ("h", 2)


async def test_a_primary_that_is_down_is_none() -> None:
    """If the sentinels say that the primary is down, `primary` raises ConnectionError. Its text says that no primary
    works.
    """
    with pytest.raises(ConnectionError, match="know no primary of orders that works"):
        await finder(*(Sentinel(1, 1, is_sdown=True) for _ in range(3))).primary()


async def test_all_who_ask_at_once_share_one_question_and_a_move_is_an_epoch() -> None:
    """Twenty calls at once ask each sentinel only once which server is the primary.

    The finder's epoch rises by one when the primary changes, and stays otherwise.
    """
    sentinels = [Sentinel(1, 1, turns=3) for _ in range(3)]
    found = finder(*sentinels)
    await asyncio.gather(*(found.primary() for _ in range(20)))
    assert [one.asked for one in sentinels] == [1, 1, 1]
    before = found.epoch
    await found.primary()
    assert found.epoch == before
    for one in sentinels:
        one.port, one.epoch = 2, 2
    await found.primary()
    assert found.epoch == before + 1
