"""The supervisor notices a vendor whose actor cannot start, and leaves a vendor alone that is only starting."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.plan.values import Beat, PlanConfig, Report, VendorConfig
from dispatcher.supervise.supervisor import Supervisor
from tests.unit.stage import Stage
from tests.virtual import until, virtual

CONFIG = PlanConfig({name: VendorConfig(name, "sms") for name in "ab"}, (("a", "b"),))
FULL = {"n1": 0.0, "n2": 0.1}


class Cluster:
    """A supervisor on a cluster. `free` is what Ray tells about free CPUs. Vendor b has an actor, and a has none."""

    def __init__(self, free: dict[str, float], needed: float = 0.25) -> None:
        self.stage, self.free = Stage(), free
        self.supervisor = Supervisor(
            *(self.stage.control, self.stage.clock, CONFIG), free_cpus=lambda: self.free, vendor_cpus=needed
        )
        self.stage.start(self.supervisor.run())

    async def begin(self, vendor: str) -> None:
        """Start an actor, which sends beats and reports forever."""
        name = await self.stage.control.register(vendor)

        async def live_on() -> None:
            while True:
                await self.stage.control.beat(Beat(name, vendor, "", 0, ""))
                await self.stage.control.report(Report(name, vendor, "closed"))
                await asyncio.sleep(0.25)

        self.stage.start(live_on())

    def state(self, vendor: str) -> str:
        return self.supervisor.plan.vendors[vendor].state


@pytest.mark.parametrize(
    ("free", "after_s", "reason"), [(FULL, 30.0, "no_cpu"), ({"n1": 4.0}, 60.0, "no_start"), ({}, 60.0, "no_start")]
)
@virtual
async def test_a_vendor_whose_actor_does_not_start_gives_its_work_away(
    free: dict[str, float], after_s: float, reason: str
) -> None:
    """A vendor never gets an actor. Its fallback drains its mailbox after 30 s if no machine has a CPU free, and after
    60 s otherwise. With its first actor, whenever that comes, the vendor gets its work back.
    """
    cluster = Cluster(free)
    await cluster.begin("b")
    plan = cluster.supervisor
    await asyncio.sleep(after_s - 1.0)
    assert (cluster.state("a"), plan.plan.unmanned) == ("closed", {})
    await asyncio.sleep(3.0)
    assert (cluster.state("a"), plan.plan.unmanned) == ("absent", {"a": reason})
    assert plan.plan.vendors["b"].drains == ("b", "a")
    await asyncio.sleep(300.0)
    assert plan.plan.unmanned == {"a": reason}
    await cluster.begin("a")
    await until(lambda: cluster.state("a") == "closed", 1.0)
    assert (plan.plan.unmanned, plan.plan.vendors["a"].drains) == ({}, ("a",))


@virtual
async def test_a_vendor_that_is_starting_on_a_full_cluster_is_not_absent() -> None:
    """The cluster just fits: all CPUs are reserved by replicas that are still starting. The actor starts after 25 s.

    Until then, the vendor is not called absent in any plan.
    """
    cluster = Cluster(FULL)
    await cluster.begin("b")
    await asyncio.sleep(25.0)
    await cluster.begin("a")
    await asyncio.sleep(60.0)
    history = await cluster.stage.control.plan_history(1000)
    assert {plan["vendors"]["a"]["state"] for plan in history} == {"closed"}


@virtual
async def test_a_vendor_whose_actor_was_lost_says_that_no_cpu_is_left_for_another() -> None:
    """A machine is lost with a vendor's only actor. The vendor is absent at once, and later says why it stays so."""
    cluster = Cluster({"n1": 0.0})
    await cluster.begin("b")
    lost = await cluster.stage.control.register("a")
    await cluster.stage.control.report(Report(lost, "a", "closed"))
    await until(lambda: "a" in cluster.supervisor.plan.vendors and cluster.state("a") == "absent", 10.0)
    assert cluster.supervisor.plan.unmanned == {}
    await until(lambda: cluster.supervisor.plan.unmanned == {"a": "no_cpu"}, 33.0)


@virtual
async def test_a_new_term_goes_on_with_what_the_last_plan_said() -> None:
    """The supervisor is replaced. The vendor stays absent and keeps its reason, although the time begins again."""
    cluster = Cluster(FULL)
    await cluster.begin("b")
    await until(lambda: cluster.supervisor.plan.unmanned == {"a": "no_cpu"}, 40.0)
    for task in cluster.stage.tasks[:1]:
        task.cancel()
    later = Supervisor(*(cluster.stage.control, cluster.stage.clock, CONFIG), free_cpus=lambda: FULL, vendor_cpus=0.25)
    cluster.stage.start(later.run())
    await asyncio.sleep(10.0)
    assert later.in_office_s > 9.0
    assert (later.plan.epoch, later.plan.unmanned) == (cluster.supervisor.plan.epoch, {"a": "no_cpu"}), "no new plan"
