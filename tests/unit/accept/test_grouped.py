"""Questions that come together share a round trip, and none of them waits forever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dispatcher.accept.grouped import Grouped
from dispatcher.errors import UnavailableError
from tests.virtual import virtual


class Slow:
    """A store that takes `duration_s` for a round trip, and doubles each number. It fails while `fault` is set."""

    def __init__(self, duration_s: float = 0.1) -> None:
        self.duration_s = duration_s
        self.fault: Exception | None = None
        self.trips: list[list[int]] = []

    async def ask(self, numbers: Sequence[int]) -> list[int]:
        self.trips.append(list(numbers))
        await asyncio.sleep(self.duration_s)
        if self.fault is not None:
            raise self.fault
        return [2 * number for number in numbers]

    def grouped(self, most: int = 3) -> Grouped[int, int]:
        return Grouped(self.ask, most=most, deadline_s=1.0)


@virtual
async def test_questions_that_come_during_a_round_trip_share_the_next_one() -> None:
    """At most three questions share a round trip. Each gets its own answer."""
    slow = Slow()
    grouped = slow.grouped()
    first = asyncio.ensure_future(grouped.ask(1))
    await asyncio.sleep(0.05)
    answers = await asyncio.gather(first, *(grouped.ask(n) for n in range(2, 6)))
    assert answers == [2, 4, 6, 8, 10]
    assert slow.trips == [[1], [2, 3, 4], [5]]


@virtual
async def test_after_a_pause_a_question_is_asked_at_once() -> None:
    slow = Slow()
    grouped = slow.grouped()
    assert [await grouped.ask(1), await grouped.ask(2)] == [2, 4]


@pytest.mark.parametrize(
    ("fault", "told"),
    [(UnavailableError("redis: away"), "redis: away"), (ValueError("broken"), "no answer: ValueError")],
)
@virtual
async def test_a_round_trip_that_fails_is_told_to_its_questions_alone(fault: Exception, told: str) -> None:
    slow = Slow()
    grouped, slow.fault = slow.grouped(), fault
    answers = await asyncio.gather(grouped.ask(1), grouped.ask(2), return_exceptions=True)
    assert [getattr(answer, "reason", answer) for answer in answers] == [told, told]
    slow.fault = None
    assert await grouped.ask(3) == 6


@virtual
async def test_a_store_that_hangs_costs_the_deadline() -> None:
    """A question gets a 503 after a second, and the next one is asked again."""
    slow, loop = Slow(60.0), asyncio.get_running_loop()
    grouped, began_s = slow.grouped(), loop.time()
    with pytest.raises(UnavailableError, match="too slow"):
        await grouped.ask(1)
    assert loop.time() - began_s == pytest.approx(1.0, abs=0.01)
    slow.duration_s = 0.1
    assert await grouped.ask(2) == 4


@virtual
async def test_a_question_whose_client_has_left_is_not_asked() -> None:
    slow = Slow()
    grouped = slow.grouped()
    first = asyncio.ensure_future(grouped.ask(1))
    await asyncio.sleep(0.05)
    second, third = (asyncio.ensure_future(grouped.ask(n)) for n in (2, 3))
    await asyncio.sleep(0)
    second.cancel()
    assert [await first, await third] == [2, 6]
    assert slow.trips == [[1], [3]]
