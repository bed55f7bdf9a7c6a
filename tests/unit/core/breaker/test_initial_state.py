"""A new vendor actor restores the breaker state of the actor before it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.breaker.initial_state import UNKNOWN, decide_beginning
from dispatcher.core.breaker.values import BreakerSnapshot
from dispatcher.core.breaker.window import Rows
from dispatcher.core.life.outcome import Outcome
from dispatcher.errors import UnavailableError
from tests.unit.stage import ScriptedVendor, Stage, plan_of
from tests.unit.vendor_actors import OneActor
from tests.virtual import until, virtual

S = BreakerState
ROWS = Rows("TIME", 10, ((0, 3, 3, 0, 0),))
CLOSED = BreakerSnapshot(S.CLOSED, attempts=2, in_a_row=3, rows=ROWS)
OPEN = BreakerSnapshot(S.OPEN, attempts=3, wait_ns=5, rows=ROWS)


@pytest.mark.parametrize(
    ("written", "lives", "planned", "expected"),
    [
        pytest.param(None, False, None, None, id="the very first"),
        pytest.param(None, False, "closed", None, id="known to be well"),
        pytest.param(None, False, "open", UNKNOWN, id="down, and nothing written"),
        pytest.param(None, False, "half_open", UNKNOWN, id="recovering, and nothing written"),
        pytest.param(None, False, "absent", UNKNOWN, id="dead, and nothing written"),
        pytest.param(None, False, "forced_open", None, id="an operator keeps it out anyway"),
        pytest.param(OPEN, False, "absent", OPEN, id="it was open"),
        pytest.param(OPEN, False, "closed", OPEN, id="the plan had not heard of it"),
        pytest.param(CLOSED, False, "absent", CLOSED, id="it was closed"),
        pytest.param(CLOSED, False, "open", replace(UNKNOWN, attempts=2), id="all together found it down"),
        pytest.param(OPEN, True, "open", replace(OPEN, rows=Rows()), id="a sibling counts its own results"),
        pytest.param(CLOSED, True, "closed", replace(CLOSED, rows=Rows(), in_a_row=0), id="and its own row"),
        pytest.param(BreakerSnapshot(S.FORCED_OPEN), False, "closed", None, id="a word that was taken back"),
    ],
)
def test_where_a_breaker_begins(
    written: BreakerSnapshot | None, lives: bool, planned: str | None, expected: BreakerSnapshot | None
) -> None:
    assert decide_beginning(written, lives, planned) == expected


async def actor(stage: Stage, outcomes: Iterable[Outcome] | ScriptedVendor = ()) -> OneActor:
    one = OneActor(stage, outcomes if isinstance(outcomes, ScriptedVendor) else ScriptedVendor("a", outcomes))
    await one.start()
    await until(lambda: one._courier.me, 2.0)
    return one


class Absent:
    """A proxy of the store. While `away` is true, every call raises UnavailableError."""

    def __init__(self, there: Any) -> None:
        self._there, self.away = there, False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._there, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*args: Any) -> Any:
            if self.away:
                raise UnavailableError("away")
            return await found(*args)

        return call


@pytest.mark.parametrize("verdict", [False, True])
@virtual
async def test_after_an_outage_of_the_store_an_actor_goes_on_unless_it_was_declared_dead(verdict: bool) -> None:
    """During an outage of the store an actor sends nothing.

    Afterwards it continues as the same incarnation. If it was declared dead meanwhile, it continues as a new
    incarnation.
    """
    stage, vendor = Stage(), ScriptedVendor("a")
    control = stage.control
    way, way_to_store = Absent(control), Absent(MemoryStore(stage.cell))
    stage.control = way  # type: ignore[assignment]
    with mock.patch("tests.unit.vendor_actors.MemoryStore", lambda cell: way_to_store):
        one = await actor(stage, vendor)
    courier = one._courier
    me, renewed, renew = courier.me, list[str](), courier.renewed

    def note(asked_s: float) -> None:
        renewed.append(courier.me)
        renew(asked_s)

    courier.renewed = note  # type: ignore[method-assign]
    way.away = way_to_store.away = True
    await stage.accept(3, vendor="a", chain=("a",))
    await asyncio.sleep(3.0)
    assert courier.link.stale()
    assert vendor.sent == []
    if verdict:
        term, _ = await control.begin_term()
        await control.bury({me: 0}, term)
    way.away = way_to_store.away = False
    await until(lambda: stage.states() == ["settled"] * 3, 5.0)
    assert (courier.me != me) is verdict
    assert (me in renewed) is not verdict, "the dead is never trusted again"
    one.kill()


@virtual
async def test_an_open_wait_outlives_the_actor() -> None:
    """If an actor is killed while its breaker is open, the next actor's breaker is open for the rest of the wait
    and keeps the count of openings.
    """
    stage = Stage()
    first = await actor(stage, [Outcome.failed("http_503")] * 3)
    await stage.accept(3, vendor="a", chain=("a",))
    await until(lambda: first.breaker.state is S.OPEN, 2.0)
    await asyncio.sleep(2.0)
    first.kill()
    second = await actor(stage)
    now_ns = int(stage.clock.now_s() * 1e9)
    assert second.breaker.state is S.OPEN
    assert second.breaker.metrics(now_ns).attempts == 1
    assert 2.5 < second.breaker.retry_after_ns(now_ns) / 1e9 <= 3.0
    await asyncio.sleep(3.5)
    assert second.breaker.state is S.HALF_OPEN


@virtual
async def test_a_clean_end_hands_its_evidence_on() -> None:
    """An actor's last two calls fail, and it stops cleanly. The next actor's first call fails too.

    This third failure in a row opens the new actor's breaker.
    """
    stage = Stage()
    first = await actor(stage, [Outcome.failed("http_503")] * 2)
    await stage.accept(2, vendor="a", chain=("a",))
    await until(lambda: len(first._vendor.sent) == 2, 2.0)  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)
    await first.stop(3.0)
    second = await actor(stage, [Outcome.failed("http_503")])
    assert second.breaker.state is S.CLOSED
    await stage.accept(1, vendor="a", chain=("a",))
    await until(lambda: second.breaker.state is S.OPEN, 3.0)


@virtual
async def test_without_a_word_from_before_it_probes_what_the_plan_calls_down() -> None:
    """A new actor finds no snapshot of its breaker, and the plan says that the vendor is cut off. The actor's breaker
    begins half open.
    """
    for written in (None, {"incarnation": "a/0", "breaker": {"state": "molten"}}):
        stage = Stage()
        stage.cell.plan = plan_of(a="open", b="closed")
        if written is not None:
            await stage.control.remember("a", written)
        assert (await actor(stage)).breaker.state is S.HALF_OPEN


@pytest.mark.parametrize(("unmanned", "begins"), [({}, S.HALF_OPEN), ({"a": "no_cpu"}, S.CLOSED)])
@virtual
async def test_a_vendor_that_only_had_to_wait_for_a_cpu_is_not_probed(
    unmanned: dict[str, str], begins: BreakerState
) -> None:
    """The plan calls a vendor absent, because no actor of it could start for too long. Its first actor sends at once.

    After a death, the new actor probes first.
    """
    stage = Stage()
    stage.cell.plan = replace(plan_of(a="absent", b="closed"), unmanned=unmanned)
    assert (await actor(stage)).breaker.state is begins
