"""Checks that waiting for the end of tasks works, even if a library swallows a cancellation."""

from __future__ import annotations

import asyncio
import contextlib

from actors.runtime import Tasks
from dispatcher.core.plan.values import Beat
from dispatcher.errors import StaleTermError
from dispatcher.supervise.supervisor import Supervisor
from dispatcher.waiting import ended
from tests.unit.stage import Stage
from tests.unit.supervise.test_supervisor import CONFIG, report
from tests.virtual import virtual


async def swallow_one() -> None:
    """Swallow one cancellation.

    `wait_for` before Python 3.12 does this if the cancellation comes together with its result.
    """
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)


async def goes_on() -> None:
    await swallow_one()
    await asyncio.sleep(3600)


@virtual
async def test_a_task_that_swallows_a_cancellation_ends_all_the_same() -> None:
    tasks = [asyncio.ensure_future(goes_on()), asyncio.ensure_future(asyncio.sleep(3600))]
    await asyncio.sleep(0)
    await asyncio.wait_for(ended(tasks), 10)
    assert all(task.cancelled() for task in tasks)


@virtual
async def test_the_loops_of_an_actor_stop_all_the_same() -> None:
    tasks = Tasks()
    loop = tasks.start("deaf", goes_on())
    await asyncio.sleep(0)
    await asyncio.wait_for(tasks.stop(), 10)
    assert loop.cancelled()


class Swallowing:
    """A control channel whose first `beat` does not end when it is cancelled. A second cancellation ends it."""

    def __init__(self, control: object) -> None:
        self._control, self._swallows = control, True

    def __getattr__(self, name: str) -> object:
        return getattr(self._control, name)

    async def beat(self, beat: Beat) -> None:
        if self._swallows:
            await swallow_one()
            self._swallows = False
        await asyncio.sleep(3600)


@virtual
async def test_a_supervisor_that_is_out_of_office_ends_all_the_same() -> None:
    """Another supervisor has begun a term. The former supervisor then ends with StaleTermError, even if its beat
    ignores the cancellation.
    """
    stage = Stage()
    stage.cell.actors = {"a/1": "live", "b/1": "live"}
    supervisor = Supervisor(Swallowing(stage.control), stage.clock, CONFIG)  # type: ignore[arg-type]
    office = asyncio.ensure_future(supervisor.run())
    await asyncio.sleep(0.1)
    await stage.control.begin_term()
    await report(stage, "open")
    done, _ = await asyncio.wait({office}, timeout=60)
    assert done and isinstance(office.exception(), StaleTermError)
