"""Checks a supervisor that stands by: when it takes over, what it knows by then, and how it gives way."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from dispatcher.core.plan.values import Beat, PlanConfig, Report, VendorConfig
from dispatcher.supervise.supervisor import Supervisor
from tests.unit.stage import Stage
from tests.virtual import until, virtual

CONFIG = PlanConfig({name: VendorConfig(name, "sms") for name in "ab"}, (("a", "b"),))
PATIENCE_S = 1.5


def supervisor(stage: Stage, node: str, nodes: Collection[str] = ()) -> Supervisor:
    return Supervisor(
        *(stage.control, stage.clock, CONFIG),
        node=node,
        replica=f"s-{node}",
        patience_s=PATIENCE_S,
        nodes=lambda: nodes,
    )


async def beat(stage: Stage, incarnation: str, node: str) -> None:
    """Send beats and reports forever, as a live vendor actor does."""
    vendor = incarnation.partition("/")[0]
    while True:
        await stage.control.beat(Beat(incarnation, vendor, "", 0, node))
        replica = f"r{node}{vendor}"
        process = f"{vendor}-{replica}"
        await stage.control.report(Report(incarnation, vendor, "closed", replica=replica, node=node, process=process))
        await asyncio.sleep(0.25)


@virtual
async def test_one_takes_office_and_the_other_stands_by() -> None:
    """The first of two supervisors begins a term. The second begins none as long as the first one's beats arrive."""
    stage = Stage()
    first, second = supervisor(stage, "n1"), supervisor(stage, "n2")
    stage.start(first.run())
    await until(lambda: first._term == 1)
    stage.start(second.run())
    await asyncio.sleep(30.0)
    assert (first._term, second._term) == (1, 0)


@virtual
async def test_a_machine_lost_with_the_supervisor_is_replaced_within_three_seconds() -> None:
    """If one machine with the supervisor and a vendor actor is lost, the standby supervisor declares that actor
    dead within three seconds.
    """
    stage = Stage()
    a, b = await stage.control.register("a", 1, "n1"), await stage.control.register("b", 2, "n2")
    lost = [stage.start(beat(stage, a, "n1"))]
    stage.start(beat(stage, b, "n2"))
    first, second = supervisor(stage, "n1"), supervisor(stage, "n2")
    lost.append(stage.start(first.run()))
    await until(lambda: first._term == 1)
    stage.start(second.run())
    await until(lambda: "a" in first.plan.vendors)
    await asyncio.sleep(5.0)
    for task in lost:
        task.cancel()
    began_s = stage.clock.now_s()
    await until(lambda: "a" in second.plan.vendors and not second.plan.accepts_new("a"))
    assert stage.clock.now_s() - began_s <= 3.0
    assert list(await stage.control.live()) == [b]


@virtual
async def test_one_that_was_fenced_stands_by() -> None:
    """A later term has begun, so a supervisor is no longer in office. It stands by and goes on listening.

    When the later term falls silent, exactly one of two supervisors begins a new term.
    """
    stage = Stage()
    first, second = supervisor(stage, "n1"), supervisor(stage, "n2")
    running = stage.start(first.run())
    await until(lambda: first._term == 1)
    await stage.control.beat(Beat("x", "a", "", 0, "n1"))
    await stage.control.begin_term()  # another supervisor began a later term and has been silent since
    await stage.control.report(Report("a/1", "a", "closed"))
    await until(lambda: first._term != 1, 10)
    assert not running.done()
    stage.start(second.run())
    await until(lambda: sorted([bool(first._term), bool(second._term)]) == [False, True], 10)


@virtual
async def test_two_on_one_machine_are_spread() -> None:
    """If both supervisors are on one machine and another machine is free, the plan tells the standby supervisor to
    leave, so its health check fails.
    """
    stage = Stage()
    first, second = supervisor(stage, "n1", {"n1", "n2"}), supervisor(stage, "n1", {"n1", "n2"})
    second._cast.replica = "s-other"
    stage.start(first.run())
    await until(lambda: first._term == 1)
    await stage.control.report(Report("a/1", "a", "closed"))
    await asyncio.sleep(2.0)
    stage.start(second.run())
    await until(lambda: first.plan.leaving == ("s-other",), 20)
    first.check()

    def told() -> bool:
        try:
            second.check()
        except RuntimeError:
            return True
        return False

    await until(told, 5)
