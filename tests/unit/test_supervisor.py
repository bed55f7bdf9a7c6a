"""The supervisor's loop: what it says is what is in force, also when nobody answers it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from dispatcher.core.plan import Plan, PlanConfig, VendorConfig
from dispatcher.errors import UnavailableError
from dispatcher.supervisor import Supervisor
from tests.unit.stage import Stage
from tests.virtual import until, virtual

CONFIG = PlanConfig({name: VendorConfig(name, "sms") for name in "ab"}, (("a", "b"),))


class Unanswered:
    """A control channel that leaves one publication without an answer: done at once, or after the next one."""

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
        await stage.control.report({"incarnation": f"{name}/1", "vendor": name, "breaker": breaker})


@pytest.mark.parametrize("when", ["done", "later"])
@pytest.mark.parametrize("then", ["open", "closed"])
@virtual
async def test_a_publication_without_an_answer_is_said_again(when: str, then: str) -> None:
    """Maybe in force, maybe later: what holds by then is said under a later epoch, even if it is as before."""
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
    assert supervisor.plan.vendors["a"].state == then
