"""Runs the whole dispatcher in one process, on the memory store and in virtual time.

The dispatcher has an intake, a supervisor, and one actor for each vendor.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from dispatcher.accept.intake import Intake
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.config.settings import parse_settings
from dispatcher.core.breaker.config import BreakerConfig
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.plan.values import Beat, Plan, PlanConfig, Report, VendorConfig
from dispatcher.deliver.courier import Courier
from dispatcher.deliver.maintenance import Caretaker
from dispatcher.supervise.supervisor import Supervisor
from dispatcher.templates.cache import TemplateCache
from tests.unit.desk import SETTINGS, body
from tests.unit.stage import ScriptedVendor, Stage
from tests.virtual import until

BREAKER = BreakerConfig(window_size=10, min_calls=5, consecutive_failures=5, open_wait_ms=2000, open_wait_ms_max=4000)


class Actor:
    """Runs what a vendor actor runs: courier, maintenance, beats, reports and following the plan."""

    def __init__(self, play: Play, vendor: ScriptedVendor) -> None:
        self.play, self.vendor = play, vendor
        self.tasks: list[asyncio.Task[Any]] = []
        self.courier: Courier

    async def start(self) -> Actor:
        stage = self.play.stage
        c = self.courier = await stage.courier(self.vendor, breaker=BREAKER, run=False)
        caretaker = Caretaker(c, MemoryStore(stage.cell), stage.clock, frozenset("ab"))
        loops = (c.run(), c.outbox.run(), caretaker.run(), self._beat(), self._report(), self._follow())
        self.tasks = [stage.start(loop) for loop in loops]
        return self

    def kill(self) -> None:
        """Cancel everything, as SIGKILL ends a process. Nothing is finished, settled or published after that."""
        for task in (*self.tasks, *self.courier._calls):
            task.cancel()

    async def _beat(self) -> None:
        while True:
            await self.play.stage.control.beat(Beat(self.courier.me, self.vendor.name, "", 0, ""))
            await asyncio.sleep(0.25)

    async def _report(self) -> None:
        while True:
            state, me = self.courier.breaker.state.value, self.courier.me
            await self.play.stage.control.report(Report(me, self.vendor.name, state, process=me))
            await asyncio.sleep(0.1)

    async def _follow(self) -> None:
        async for message in self.play.stage.control.listen(("plan",)):
            if isinstance(message, Plan):
                self.courier.adopt_plan(message)


class Play:
    """An intake, a supervisor and one actor for each vendor."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.a, self.b = ScriptedVendor("a"), ScriptedVendor("b")
        control, clock = self.stage.control, self.stage.clock
        vendors = {name: VendorConfig(name, "sms") for name in "ab"}
        self.supervisor = Supervisor(control, clock, PlanConfig(vendors, (("a", "b"),)))
        self.intake = Intake(
            parse_settings(SETTINGS),
            *(MemoryStore(self.stage.cell), self.stage.views, TemplateCache(self.stage.template_store)),
            clock=clock,
            metrics=self.stage.metrics,
        )

    async def start(self) -> None:
        self.stage.start(self.intake.run())
        self.stage.start(self.supervisor.run())
        self.actors = {vendor.name: await Actor(self, vendor).start() for vendor in (self.a, self.b)}
        await until(lambda: self.supervisor.plan.vendors)

    async def post(self, count: int, gap_s: float = 0.02, **changes: Any) -> list[str]:
        ids = []
        for n in range(count):
            self.intake.plan = self.supervisor.plan
            accepted = await self.intake.accept("shop", body(n, **changes), f"order-{n}")
            ids += [nid for nid, _, _ in accepted.notifications]
            await asyncio.sleep(gap_s)
        return ids

    def accepted_by(self) -> Counter[str]:
        """Return how many accepted attempts each notification has in its history."""
        records = self.stage.cell.records.values()
        return Counter(
            f"{record.trigger.id}.{i}"
            for record in records
            for i, note in enumerate(record.notes)
            for attempt in note.history
            if attempt.outcome == "accepted"
        )

    async def all_settled(self, count: int, most_s: float = 120.0) -> None:
        await until(lambda: self.stage.states() == ["settled"] * count, most_s)


async def outage() -> None:
    """Post triggers while vendor a fails and then recovers. Check that each is accepted by a vendor exactly once."""
    play = Play()
    await play.start()
    ids = await play.post(10)
    play.a.then = Outcome.failed("http_503")
    ids += (await play.post(50))[10:]
    await play.all_settled(50)
    assert play.accepted_by() == Counter(ids)
    calls = len(play.a.sent)
    assert play.supervisor.plan.vendors["b"].drains == ("b", "a")
    play.a.then = None
    count = 50
    while play.supervisor.plan.vendors["a"].state != "closed":  # its probes are ordinary messages
        count += 10
        assert count < 2000, "it never closed"
        await play.post(count)
    await play.post(count + 20)
    await play.all_settled(count + 20)
    assert len(play.a.sent) > calls
    assert set(play.accepted_by().values()) == {1}
