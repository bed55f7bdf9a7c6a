"""All actors wait in the same way for a store that does not answer, and know the Redis of each cell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from actors.runtime import CellRedis, cells_of
from dispatcher.config.settings import parse_settings
from dispatcher.errors import UnavailableError
from dispatcher.waiting import until_available
from tests.virtual import virtual


async def asked_at(chance: Callable[[], float], until_s: float) -> list[float]:
    """Wait for a store that answers only from second `until_s` on. Return the seconds at which the store was asked."""
    clock = asyncio.get_running_loop().time
    began_s, asked = clock(), []

    async def step() -> str:
        asked.append(clock() - began_s)
        if asked[-1] < until_s:
            raise UnavailableError("redis: away")
        return "here"

    assert await until_available(step, chance) == "here"
    return asked


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 0.5), (0.5, 1.0), (0.999, 1.499)])
@virtual
async def test_waits_grow_to_a_second_each_as_long_as_chance_has_it(chance: float, factor: float) -> None:
    """The store does not answer. The waits between an actor's tries double up to one second.

    Each wait is multiplied by a random factor, so that actors that began together do not ask a returning Redis at the
    same moment.
    """
    asked = await asked_at(lambda: chance, 10.0)
    waits = [after - before for before, after in pairwise(asked)]
    assert waits[:6] == pytest.approx([factor * s for s in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0)])
    assert len({round(wait, 6) for wait in waits[4:]}) == 1


def test_the_cells_are_those_of_the_settings_after_the_first() -> None:
    """Each cell has its own Redis and keys. With no further cell there is the first one alone."""
    runtime = {"redis_url": "file:/zero"}
    assert cells_of(runtime, parse_settings({})) == [CellRedis("0", "file:/zero")]
    several = cells_of(runtime, parse_settings({"store": {"cells": ["file:/one", "${TWO}"]}}))
    assert several == [CellRedis("0", "file:/zero"), CellRedis("1", "file:/one"), CellRedis("2", "${TWO}")]
    assert [cell.keys.plan for cell in several] == ["{nd:0}:plan", "{nd:1}:plan", "{nd:2}:plan"]
