"""Checks the supervisor's loop: the plan that the supervisor believes in is the plan in force, even if the store
does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from dataclasses import replace
from typing import Any

import pytest

from dispatcher.core.plan.messages import Statement
from dispatcher.core.plan.values import Beat, Plan, PlanConfig, Report, VendorConfig
from dispatcher.errors import UnavailableError
from dispatcher.ports import Incarnation
from dispatcher.supervise.supervisor import Supervisor
from tests.unit.stage import ScriptedVendor, Stage
from tests.unit.vendor_actors import OneActor
from tests.virtual import until, virtual

CONFIG = PlanConfig({name: VendorConfig(name, "sms") for name in "ab"}, (("a", "b"),))


class Unanswered:
    """A control channel that loses the answer to one publication.

    The lost publication's plan is stored at once, or only after the next publication.
    """

    def __init__(self, control: Any, when: str) -> None:
        self._control, self._when = control, when
        self.lose = False
        self._late: Plan | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._control, name)

    async def publish(self, plan: Plan, term: int) -> None:
        if self.lose:
            self.lose = False
            if self._when == "done":
                await self._control.publish(plan, term)
            else:
                self._late = plan
            raise UnavailableError("lost")
        await self._control.publish(plan, term)
        if self._late is not None:
            late, self._late = self._late, None
            with contextlib.suppress(UnavailableError):
                await self._control.publish(late, term)


async def report(stage: Stage, a: str) -> None:
    for name, breaker in (("a", a), ("b", "closed")):
        await stage.control.report(Report(f"{name}/1", name, breaker))


@pytest.mark.parametrize("when", ["done", "later"])
@pytest.mark.parametrize("then", ["open", "closed"])
@virtual
async def test_a_publication_without_an_answer_is_said_again(when: str, then: str) -> None:
    """The supervisor publishes a plan and gets no answer. It publishes again with a higher epoch.

    After that, the plan in the store and the supervisor's own plan are the same.
    """
    stage = Stage()
    control = Unanswered(stage.control, when)
    supervisor = Supervisor(control, stage.clock, CONFIG)  # type: ignore[arg-type]
    stage.cell.actors = {"a/1": "live", "b/1": "live"}
    stage.start(supervisor.run())
    await asyncio.sleep(0.1)
    await report(stage, "closed")
    await until(lambda: supervisor.plan.vendors, 3.0)
    control.lose = True
    await report(stage, "open")
    await until(lambda: not control.lose, 1.0)
    await report(stage, then)
    await asyncio.sleep(1.0)
    assert stage.cell.plan == supervisor.plan
    assert supervisor.plan.reason
    assert supervisor.plan.vendors["a"].state == then


@virtual
async def test_a_pool_that_dies_again_and_again_is_quarantined() -> None:
    """After six deaths of its actors a vendor is quarantined, and another vendor drains its mailbox, although a
    seventh actor reports no fault. A minute later the vendor drains its own mailbox again.
    """
    stage = Stage()
    supervisor = Supervisor(stage.control, stage.clock, CONFIG)
    stage.cell.actors = {"b/0": "live"}
    stage.start(supervisor.run())

    async def beat(names: list[str], seconds: float) -> None:
        for _ in range(int(seconds / 0.25)):
            for name in names:
                await stage.control.beat(Beat(name, name[0], "", 0, ""))
                await stage.control.report(Report(name, name[0], "closed"))
            await asyncio.sleep(0.25)

    for n in range(1, 7):
        stage.cell.actors[f"a/{n}"] = "live"
        await beat([f"a/{n}", "b/0"], 1.5)
        assert supervisor.plan.vendors["a"].state == "closed"
        await beat(["b/0"], 3.5)  # silence, and the verdict
    stage.cell.actors["a/7"] = "live"
    await beat(["a/7", "b/0"], 2.0)
    assert stage.cell.plan is not None
    assert stage.cell.plan.vendors["a"].state == "quarantined"
    assert set(stage.cell.plan.vendors["b"].drains) == {"a", "b"}
    await beat(["a/7", "b/0"], 61.0)
    assert stage.cell.plan.vendors["a"].drains == ("a",)


class HalfDeaf:
    """A control channel of which some subscriptions, those listed in `deaf`, receive no more messages."""

    def __init__(self, control: Any) -> None:
        self._control = control
        self.deaf: list[int] = []
        self.subscriptions = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._control, name)

    async def listen(self, kinds: Any) -> Any:
        me = self.subscriptions = self.subscriptions + 1
        async with contextlib.aclosing(self._control.listen(kinds)) as messages:
            async for heard in messages:
                yield None if me in self.deaf else heard


@virtual
async def test_a_deaf_supervisor_listens_anew() -> None:
    """A supervisor stops hearing its own beats, so it subscribes again.

    Within three seconds it knows a report that was sent meanwhile, and it has declared no actor dead.
    """
    stage = Stage()
    control = HalfDeaf(stage.control)
    supervisor = Supervisor(control, stage.clock, CONFIG)  # type: ignore[arg-type]
    stage.cell.actors = {"a/1": "live", "b/1": "live"}
    stage.start(supervisor.run())
    a = "closed"

    async def live_on() -> None:
        while True:
            for name in "ab":
                await stage.control.beat(Beat(f"{name}/1", name, "", 0, ""))
            await report(stage, a)
            await asyncio.sleep(0.25)

    stage.start(live_on())
    await asyncio.sleep(10.0)
    assert control.subscriptions == 1
    control.deaf.append(1)
    a = "open"
    await asyncio.sleep(3.0)
    assert supervisor.plan.vendors["a"].state == "open"
    assert control.subscriptions == 2
    assert stage.cell.actors == {"a/1": "live", "b/1": "live"}


class Broken(HalfDeaf):
    """A control channel on which every subscription breaks at once. `tried_s` lists the times at which somebody
    subscribed.
    """

    def __init__(self, control: Any, clock: Any) -> None:
        super().__init__(control)
        self._clock, self.tried_s = clock, list[float]()

    async def listen(self, kinds: Any) -> Any:
        self.tried_s.append(self._clock.now_s())
        raise UnavailableError("the link broke")
        yield None


@virtual
async def test_who_lost_his_subscription_does_not_come_back_in_step() -> None:
    """After each broken subscription, a supervisor and an actor wait for a random time of 0.1 to 0.3 s, so that
    they do not all come back at once.
    """
    stage, dice = Stage(), random.Random(1)
    control = Broken(stage.control, stage.clock)
    stage.start(Supervisor(control, stage.clock, CONFIG, chance=dice.random).run())  # type: ignore[arg-type]
    followed = stage.control = Broken(stage.control, stage.clock)  # type: ignore[assignment]
    await OneActor(stage, ScriptedVendor("a")).start()
    await asyncio.sleep(5.0)
    for tried_s in (control.tried_s, followed.tried_s):
        pauses = [after - before for before, after in itertools.pairwise(tried_s)]
        assert len(pauses) > 10
        assert all(0.09 < pause < 0.31 for pause in pauses)
        assert max(pauses) - min(pauses) > 0.05


@virtual
async def test_a_starved_actor_of_this_machine_is_not_condemned() -> None:
    """A silent actor on the supervisor's own machine is not declared dead if its process waited for a core all the
    time. An equally silent actor on another machine is declared dead.
    """
    for node, lives in (("here", True), ("there", False)):
        stage = Stage()
        supervisor = Supervisor(stage.control, stage.clock, CONFIG, node="here", waited_ms=lambda pid: 250.0)
        for name, at in (("a/1", node), ("b/1", "here")):
            stage.cell.actors[name], stage.cell.processes[name] = "live", Incarnation(0, 77, at)
        work = stage.start(supervisor.run())
        await asyncio.sleep(0.3)
        for _ in range(20):
            await stage.control.beat(Beat("b/1", "b", "", 78, "here"))
            await asyncio.sleep(0.25)
        assert (stage.cell.actors.get("a/1") == "live") is lives, node
        work.cancel()


class Renewing:
    """A control channel on which actor a/1 renews its incarnation just before the supervisor declares it dead."""

    def __init__(self, control: Any, times: int) -> None:
        self._control, self.times = control, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._control, name)

    async def bury(self, verdicts: Any, term: int) -> Any:
        if self.times:
            self.times -= 1
            assert await self._control.renew("a/1")
        return await self._control.bury(verdicts, term)


@virtual
async def test_who_renews_himself_before_the_verdict_lives_for_another_patience() -> None:
    """A silent actor renews itself just before the supervisor declares it dead. It stays live, because it may send
    again.

    If it stays silent, it is declared dead about two seconds later.
    """
    stage = Stage()
    stage.cell.actors = {"a/1": "live", "b/1": "live"}
    control = Renewing(stage.control, 1)
    stage.start(Supervisor(control, stage.clock, CONFIG).run())  # type: ignore[arg-type]
    states: dict[float, str] = {}
    for n in range(24):
        await stage.control.beat(Beat("b/1", "b", "", 0, ""))
        states[n * 0.25] = stage.cell.actors.get("a/1", "")
        await asyncio.sleep(0.25)
    assert control.times == 0
    assert states[3.75] == "live"
    assert states[5.5] != "live"


@virtual
async def test_growth_waits_for_room_as_the_most_careful_of_a_node_tells_it() -> None:
    """A vendor actor reports free cores, but an intake on the same node reports too few. The pool does not grow.

    When the intake's report is too old to count, the pool grows.
    """
    stage = Stage()
    supervisor = Supervisor(stage.control, stage.clock, CONFIG, silence_ms=10**9)
    stage.cell.actors = {"a/1": "live", "b/1": "live"}
    stage.start(supervisor.run())
    await asyncio.sleep(0.1)

    async def tell(vendors_see: float, intake_sees: float | None) -> None:
        idle = Report("b/1", "b", "closed", cpu=0.0, process="b", node="n", free_cores=vendors_see)
        busy = replace(idle, incarnation="a/1", vendor="a", cpu=0.4, process="a")
        await stage.control.report(replace(busy, in_flight=64, calls_per_s=600.0, latency_s=0.1))
        await stage.control.report(idle)
        if intake_sees is not None:
            await stage.control.report(Statement("intake", "n", free_cores=intake_sees))
        await asyncio.sleep(0.5)

    for _ in range(4):
        await tell(1.5, 0.1)
    assert (supervisor.plan.vendors["a"].replicas, supervisor.plan.full) == (1, ("a",))
    for _ in range(14):
        await tell(1.5, None)
    assert supervisor.plan.vendors["a"].replicas == 2


@virtual
async def test_a_receipt_heard_by_intake_opens_the_vendor_while_it_is_new() -> None:
    """An intake replica reports that a vendor refuses our account by receipts. While it reports this, the vendor is
    open in the plan.

    When the replica has ended, its report expires, and the vendor is closed again.
    """
    stage = Stage()
    supervisor = Supervisor(stage.control, stage.clock, CONFIG, silence_ms=10**9)
    stage.cell.actors = {"a/1": "live", "b/1": "live"}
    stage.start(supervisor.run())
    await asyncio.sleep(0.1)

    async def state(refused: dict[str, dict[str, int]] | None) -> str:
        for name in "ab":
            await stage.control.report(Report(f"{name}/1", name, "closed"))
        if refused is not None:
            await stage.control.report(Statement("intake", "n", refused=refused))
        await asyncio.sleep(0.5)
        return supervisor.plan.vendors["a"].state

    assert await state({}) == "closed"
    assert await state({"a": {"": 1}}) == "open"
    assert await state({}) == "closed"
    assert await state({"a": {"": 1}}) == "open"
    states = [await state(None) for _ in range(30)]
    assert states[:10] == ["open"] * 10 and states[-1] == "closed", "a replica that ended says nothing more"


@virtual
async def test_what_processes_report_is_passed_on_also_while_it_stands_by() -> None:
    """The time in office is 0 for a supervisor that stands by, and counts from the beginning of a term."""
    stage, heard = Stage(), list[Any]()
    first = Supervisor(stage.control, stage.clock, CONFIG, heard=heard.append)
    second = Supervisor(stage.control, stage.clock, CONFIG, heard=heard.append, patience_s=1.5)
    for supervisor in (first, second):
        stage.start(supervisor.run())
    await asyncio.sleep(4.0)
    told = [Report("a/1", "a", "closed"), Statement("intake-r", cells=2)]
    for message in told:
        await stage.control.report(message)
    await asyncio.sleep(1.0)
    assert [heard.count(message) for message in told] == [2, 2]
    assert first.in_office_s == pytest.approx(5.0, abs=0.1)
    assert second.in_office_s == 0.0
