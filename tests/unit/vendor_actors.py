"""Makes vendor actors on a Stage: a single actor, or two vendors of which one fails."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from unittest import mock

from actors.vendor import VendorActor
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.plan.values import Override, PlanConfig, VendorConfig
from dispatcher.supervise.supervisor import Supervisor
from dispatcher.templates.cache import TemplateCache
from tests.unit.stage import ScriptedVendor, Stage
from tests.virtual import until


class OneActor(VendorActor):
    """The only actor of the only vendor, with the stage's memory store and virtual clock in place of Redis."""

    def __init__(self, stage: Stage, vendor: ScriptedVendor) -> None:
        one = {"adapter": "twilio", "channel": "sms", "breaker": {"consecutive_failures": 3, "open_wait_jitter": 0.0}}
        with mock.patch("actors.vendor.build", lambda *_: vendor):
            super().__init__({"vendors": {"a": one}, "routes": [{"channel": "sms", "chain": ["a"]}]}, "a", {}, {})
        self.stage = stage

    def _open(self) -> None:
        self._clock, self._chance = self.stage.clock, random.Random(1).random
        self._store: Any = MemoryStore(self.stage.cell)
        self._control: Any = self.stage.control
        self._templates = TemplateCache(self.stage.template_store)
        self._close = self._vendor.close

    @property
    def breaker(self) -> Any:
        return self._courier.breaker

    def kill(self) -> None:
        """Kill the actor as SIGKILL does. The actor publishes nothing after that."""
        for task in (*self._tasks._tasks, *self._courier._calls):
            task.cancel()


CONFIG = PlanConfig({name: VendorConfig(name, "sms") for name in "ab"}, (("a", "b"),))


def settings(open_wait_s: float) -> dict[str, Any]:
    """Return settings with two SMS vendors in one chain. The vendors' breakers open after three failures."""
    breaker = {"consecutive_failures": 3, "open_wait_jitter": 0.0, "open_wait_s": open_wait_s}
    return {
        "vendors": {name: {"adapter": "twilio", "channel": "sms", "breaker": breaker} for name in "ab"},
        "routes": [{"channel": "sms", "chain": ["a", "b"]}],
    }


SETTINGS = settings(5.0)


class OneOfTwo(OneActor):
    """The only actor of one of two vendors that share a chain."""

    def __init__(self, stage: Stage, vendor: ScriptedVendor, open_wait_s: float = 5.0) -> None:
        with mock.patch("actors.vendor.build", lambda *_: vendor):
            VendorActor.__init__(self, settings(open_wait_s), vendor.name, {}, {"replica": vendor.name})
        self.stage = stage


class Outage:
    """Two vendors with one actor each and a supervisor. Vendor a fails every message and vendor b works.

    `post` sends 20 messages a second to vendor a if the plan calls it usable, and otherwise to vendor b.
    """

    def __init__(self, open_wait_s: float = 5.0) -> None:
        self.stage = Stage()
        self.a, self.b = ScriptedVendor("a"), ScriptedVendor("b")
        self.a.then = Outcome.failed("http_503")
        self.supervisor = Supervisor(self.stage.control, self.stage.clock, CONFIG)
        self.actors = [OneOfTwo(self.stage, vendor, open_wait_s) for vendor in (self.a, self.b)]

    def say(self, word: str, for_s: float | None) -> None:
        until_ms = None if for_s is None else self.stage.clock.wall_ms() + int(for_s * 1000)
        self.stage.cell.overrides["a"] = Override("a", word, "ada", "looked at it", until_ms)

    async def begin(self) -> None:
        self.stage.start(self.supervisor.run())
        for actor in self.actors:
            await actor.start()
        await until(lambda: self.supervisor.plan.vendors, 5.0)

    async def post(self, seconds: float) -> None:
        for _ in range(int(seconds * 20)):
            vendor = "a" if self.supervisor.plan.usable("a") else "b"
            await self.stage.accept(1, vendor=vendor)
            await asyncio.sleep(0.05)
