"""Checks the watchdog: a courier that does nothing while it has work fails its health check, and a courier that
cannot work does not.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.plan.progress import Progress
from dispatcher.ports import Applied, Claims
from tests.unit.stage import ScriptedVendor, Stage, plan_of
from tests.unit.vendor_actors import OneActor
from tests.virtual import until, virtual


def test_only_work_that_waits_all_the_time_is_stuck() -> None:
    """A courier is stuck only if work waited for the whole patience without any progress.

    Any progress, or a moment without work, starts the patience again.
    """
    progress = Progress(10.0)
    looks = [(0, 1, True), (5, 1, True), (9, 2, True), (14, 2, True), (20, 2, False), (25, 2, True), (34, 2, True)]
    assert not any(progress.look(done, could, now_s) for now_s, done, could in looks)
    assert progress.look(2, True, 35)


class StuckStore(MemoryStore):
    """A memory store whose claims hang while `hangs` is true, and whose outcomes fail while `settles` is false."""

    hangs = False
    settles = True

    async def claim(self, me: str, lanes: Any, want: int) -> Claims:
        if self.hangs:
            await asyncio.Event().wait()
        return await super().claim(me, lanes, want)

    async def apply(self, me: str, pairs: Any, now_ms: int) -> Any:
        return await super().apply(me, pairs, now_ms) if self.settles else [Applied.ERROR] * len(pairs)


class Watched(OneActor):
    """A vendor actor whose store is a `StuckStore`."""

    def _open(self) -> None:
        super()._open()
        self._store = StuckStore(self.stage.cell)


async def begun(stage: Stage, vendor: ScriptedVendor) -> Watched:
    actor = Watched(stage, vendor)
    await actor.start()
    await until(lambda: actor._courier.me, 2.0)
    return actor


@virtual
async def test_a_stuck_courier_fails_its_health_check() -> None:
    """If claims hang while work waits, the actor's health check fails after 30 s, although its beats go on.

    Without work the health check passes.
    """
    stage = Stage()
    actor = await begun(stage, ScriptedVendor("a"))
    await stage.accept(3, chain=("a",))
    await asyncio.sleep(60.0)
    actor.check()
    actor._store.hangs = True
    await asyncio.sleep(60.0)
    actor.check()  # there is no work
    with capture_logs() as logs:
        await stage.accept(3, chain=("a",))
        await asyncio.sleep(25.0)
        actor.check()
        await asyncio.sleep(20.0)
    with pytest.raises(RuntimeError, match="work waits, and none of it was begun for 30 s"):
        actor.check()
    assert [log["event"] for log in logs].count("courier_stuck") == 1
    assert stage.cell.actors[actor._courier.me] == "live"


@pytest.mark.parametrize("why", ["open", "another's", "slow"])
@virtual
async def test_a_courier_that_may_not_work_is_not_stuck(why: str) -> None:
    """Work waits, but the courier may not send it: the breaker is open, another vendor drains it, or slow calls use all
    permits.

    The health check passes.
    """
    stage = Stage()
    vendor = ScriptedVendor("a", duration_s=500.0 if why == "slow" else 0.02)
    actor = await begun(stage, vendor)
    if why == "open":
        vendor.then = Outcome.failed("http_503")
    elif why == "another's":
        actor._duties.adopt(plan_of(b="closed", a="open"))
        await asyncio.sleep(0.5)
    await stage.accept(200, chain=("a",))
    await asyncio.sleep(120.0)
    actor.check()


@virtual
async def test_outcomes_that_do_not_settle_are_told_of_and_the_actor_stays() -> None:
    """If outcomes cannot be settled, one log event says so and the health check passes.

    The actor must stay, because a new actor would not know the outcomes and would send again.
    """
    stage, vendor = Stage(), ScriptedVendor("a")
    actor = await begun(stage, vendor)
    with capture_logs() as logs:
        for _ in range(2):
            actor._store.settles = False
            await stage.accept(3, chain=("a",))
            await asyncio.sleep(120.0)
            actor.check()
            actor._store.settles = True
            await asyncio.sleep(10.0)
    assert [log["event"] for log in logs].count("outcomes_unsettled") == 2
    assert (len(vendor.sent), stage.states()) == (6, ["settled"] * 6)
