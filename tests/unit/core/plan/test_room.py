"""Checks which pools grow: those whose actors are the limit, while a core is free."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.core.plan.decide import Survey, decide
from dispatcher.core.plan.room import START_MS_MAX, Pool, allot, count_starting
from dispatcher.core.plan.values import Plan, PlanConfig, Report, VendorConfig

BUSY = Pool("a", wanted=4, live=2, least=1, planned=2, in_flight=128, cpu=(0.3, 0.3), waiting=(0.0, 0.0))


def sized(*pools: Pool, free: float = 1.5, starting: int = 0, before: tuple[str, ...] = ()) -> tuple[Any, Any]:
    sizes = allot(pools, {"n": free}, starting, before)
    return tuple(sizes.actors.values()), sizes.full


@pytest.mark.parametrize(
    ("pool", "changes", "expected"),
    [
        pytest.param(BUSY, {}, ((3,), ()), id="one more"),
        pytest.param(BUSY, {"free": 0.0}, ((2,), ("a",)), id="the machine is full"),
        pytest.param(BUSY, {"free": 0.29}, ((2,), ("a",)), id="a start would take what is not free"),
        pytest.param(BUSY, {"free": 0.5, "before": ("a",)}, ((2,), ("a",)), id="a pause of a full machine"),
        pytest.param(BUSY, {"free": 0.6, "before": ("a",)}, ((3,), ()), id="room again"),
        pytest.param(replace(BUSY, cpu=(0.7, 0.7)), {"free": 0.6}, ((2,), ("a",)), id="less than one of them uses"),
        pytest.param(replace(BUSY, in_flight=40), {}, ((2,), ()), id="a backlog, and calls left: not the limit"),
        pytest.param(replace(BUSY, in_flight=0, cpu=(0.9, 0.8)), {}, ((3,), ()), id="each fills a core"),
        pytest.param(replace(BUSY, planned=3), {"starting": 1}, ((3,), ()), id="one is on its way"),
        pytest.param(replace(BUSY, planned=3), {"starting": 1, "free": 0.0}, ((3,), ()), id="whose start fills it"),
        pytest.param(BUSY, {"starting": 2}, ((2,), ()), id="others are on their way"),
        pytest.param(replace(BUSY, wanted=1, in_flight=0), {}, ((1,), ()), id="idle: gives back"),
        pytest.param(replace(BUSY, wanted=2, in_flight=10), {"free": 0.0}, ((1,), ()), id="full, and one would do"),
        pytest.param(replace(BUSY, wanted=2), {"free": 0.0}, ((2,), ()), id="full, and both are needed"),
        pytest.param(replace(BUSY, live=0, wanted=2, planned=1), {}, ((1,), ()), id="the first has not come yet"),
    ],
)
def test_a_pool_grows_where_it_helps(pool: Pool, changes: dict[str, Any], expected: Any) -> None:
    """A pool gets one more actor only if its present actors are the limit, and a core is free for another one.

    The second result lists the pools that found no free core.
    """
    assert sized(pool, **changes) == expected


def test_nobody_measures_so_every_pool_gets_what_it_asks_for() -> None:
    """Without readings of free cores, every pool gets the number of actors that it asks for."""
    assert allot([BUSY], {}, 0).actors == {"a": 4}


def test_one_actor_starts_at_a_time_on_a_node_with_one_free_core() -> None:
    """Two pools want to grow. On a node with one free core only one actor may start, and the pool in greater need gets
    it.

    With two free cores, or two nodes with room, both pools grow.
    """
    other = replace(BUSY, name="b", wanted=8)
    assert sized(BUSY, other, free=1.9) == ((2, 3), ())
    assert sized(BUSY, other, free=2.0) == ((3, 3), ())
    assert allot([BUSY, other], {"n": 0.5, "m": 0.5}, 0).actors == {"a": 3, "b": 3}


def test_an_actor_that_never_comes_does_not_keep_others_waiting_for_ever() -> None:
    """A planned actor that never appears counts as starting for START_MS_MAX only.

    After that time another actor may start.
    """
    missing = replace(BUSY, planned=3)
    assert count_starting([missing], {"a": 0}, START_MS_MAX - 1) == 1
    assert count_starting([missing], {"a": 0}, START_MS_MAX) == 0


def test_nothing_grows_before_the_start_is_complete() -> None:
    """While one vendor's first actor is missing, no other pool grows, even with a backlog."""
    config = PlanConfig({n: VendorConfig(n, "sms") for n in "ab"}, (("a", "b"),))
    busy = Report("a/1", "a", "closed", in_flight=64, calls_per_s=500, latency_s=0.1, cpu=0.4)
    plan = decide(Survey([busy], mailboxes={"a": 9999}, free_cores={"n": 1.5}), config, Plan(), 0)
    assert [v.replicas for v in plan.vendors.values()] == [1, 1]
    there = [busy, Report("b/1", "b", "closed", cpu=0.0)]
    assert (
        decide(Survey(there, mailboxes={"a": 9999}, free_cores={"n": 1.5}), config, plan, 250).vendors["a"].replicas
        == 2
    )


def test_a_full_machine_is_said_and_its_end_too() -> None:
    """The plan lists the pools for which the machine is full.

    When the machine is no longer full, the next plan's reason says so.
    """
    config = PlanConfig({"a": VendorConfig("a", "sms")}, (("a",),))
    busy = Report("a/1", "a", "closed", in_flight=64, calls_per_s=500, latency_s=0.1, cpu=0.4)
    before = decide(Survey([busy], free_cores={"n": 0.1}), config, Plan(), 0)
    full = decide(Survey([busy], mailboxes={"a": 9999}, free_cores={"n": 0.1}), config, before, 250)
    assert decide(Survey([busy], free_cores={"n": 1.0}), config, Plan(), 0).full == ()
    assert full.full == ("a",)
    assert Plan.from_dict(full.to_dict()).full == ("a",)
    calm = [replace(busy, in_flight=2, calls_per_s=20)]
    assert decide(Survey(calm, free_cores={"n": 0.1}), config, full, 5249).same_assignment(full)
    after = decide(Survey(calm, free_cores={"n": 0.1}), config, full, 5250)
    assert after.full == ()
    assert after.reason == "machine no longer full"


# ---- a machine of so many cores


@dataclass
class Machine:
    """A model of pools that share cores.

    An actor makes as many calls as its vendor, its concurrency and one core allow.
    """

    cores: float
    other: float
    per_call_s: float
    idle: float
    arrivals: dict[str, float]
    latency_s: dict[str, float]
    concurrency: int
    live: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.live = dict.fromkeys(self.arrivals, 1)

    def asked(self, name: str) -> float:
        """Return the calls a second that the pool makes if every actor has the CPU that it needs.

        If its actors cannot make all calls that arrive, the rest becomes a backlog.
        """
        each = min(self.concurrency / self.latency_s[name], 1.0 / self.per_call_s)
        return min(self.arrivals[name], self.live[name] * each)

    @property
    def speed(self) -> float:
        """Return the part of the wanted calls that the machine's cores can carry, from 0.01 to 1."""
        work = sum(map(self.asked, self.live)) * self.per_call_s
        left = self.cores - self.other - self.idle * sum(self.live.values())
        return max(0.01, min(1.0, left / work)) if work else 1.0

    @property
    def throughput(self) -> float:
        return sum(map(self.asked, self.live)) * self.speed

    def free(self) -> float:
        used = self.other + self.idle * sum(self.live.values()) + self.throughput * self.per_call_s
        return max(0.0, self.cores - used)

    def reports(self) -> list[Report]:
        found = []
        for name, live in self.live.items():
            calls = self.asked(name) * self.speed / live
            behind = self.arrivals[name] > calls * live * 1.001
            latency_s = self.latency_s[name] / self.speed
            in_flight = self.concurrency if behind and self.speed == 1.0 else calls * latency_s
            found += [
                Report(
                    f"{name}/{n}",
                    name,
                    "closed",
                    in_flight=int(min(self.concurrency, in_flight)),
                    calls_per_s=calls,
                    latency_s=latency_s,
                    cpu=self.idle + calls * self.per_call_s,
                    waiting=min(1.0, calls * self.per_call_s * (1 / self.speed - 1)),
                )
                for n in range(live)
            ]
        return found


rates = st.floats(0, 3000)
latencies = st.floats(0.002, 5.0)
machines = st.builds(
    lambda cores, other, per_call, idle, a, b, c, la, lb, lc, concurrency: Machine(
        *(cores, other * cores, per_call, idle),
        {"a": a, "b": b, "c": c},
        {"a": la, "b": lb, "c": lc},
        concurrency,
    ),
    st.sampled_from([1.0, 2.0, 4.0, 16.0]),
    st.floats(0, 0.8),
    st.floats(0.0003, 0.003),
    st.floats(0.005, 0.05),
    *(rates, rates, rates, latencies, latencies, latencies),
    st.sampled_from([8, 64]),
)


@given(machines)
@example(Machine(2.0, 0.9, 0.0006, 0.05, {"a": 1400, "b": 1400, "c": 0}, dict.fromkeys("abc", 0.05), 64))
def test_no_plan_makes_throughput_lower_than_the_plan_before_it(machine: Machine) -> None:
    """No plan lowers the throughput by more than a twentieth, on any machine, for any load and any slowness of
    vendors.
    """
    config = PlanConfig({n: VendorConfig(n, "sms", replicas_max=8) for n in "abc"}, (("a", "b", "c"),))
    config = replace(
        config, vendors={n: replace(v, concurrency_max=machine.concurrency) for n, v in config.vendors.items()}
    )
    plan = Plan()
    for turn in range(12):
        before = machine.throughput
        backlog = {n: int(max(0.0, rate - machine.asked(n) * machine.speed)) for n, rate in machine.arrivals.items()}
        plan = decide(
            Survey(machine.reports(), mailboxes=backlog, free_cores={"n": machine.free()}), config, plan, turn * 5000
        )
        machine.live = {name: entry.replicas for name, entry in plan.vendors.items()}
        assert machine.throughput >= 0.95 * before
