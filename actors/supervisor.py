"""The supervisor actor starts, stops and checks `dispatcher.supervise.supervisor`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping

from actors.assembly import calls_part, part
from actors.runtime import Tasks, cells_of
from dispatcher.adapters.providers import provider
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.run_queue import RunQueue
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.config.settings import Settings, parse_settings
from dispatcher.core.accepting.routing import possible_chains
from dispatcher.core.json_object import JsonObject
from dispatcher.core.plan.identity import Identity
from dispatcher.core.plan.values import PlanConfig, VendorConfig
from dispatcher.supervise.supervisor import Supervisor
from dispatcher.telemetry.log import configure


def plan_config(settings: Settings) -> PlanConfig:
    """Return the part of the settings that is needed to decide the plan of one cell.

    Each cell gets an equal part of a vendor's contract rate and calls, so all cells together keep the contract.
    """
    cells = len(settings.store.cell_names)
    vendors = {
        name: VendorConfig(
            name,
            v.channel,
            part(v.rate_per_s, cells),
            v.replicas_min,
            v.replicas_max,
            calls_part(provider(v.adapter).calls_at_once(v.concurrency_max), cells),
            v.breaker.min_calls,
            v.breaker.failure_rate,
        )
        for name, v in settings.vendors.items()
    }
    chains = tuple(chain for route in settings.routes for chain in possible_chains(route))
    return PlanConfig(vendors, chains, int(settings.supervision.dwell_s * 1000))


PATIENCE_S = 1.5
"""The time in seconds without a beat of the other supervisor, after which a supervisor that stands by takes over.

In this time the supervisor has received six of its own beats.
"""


def patience_s(runtime: Mapping[str, str]) -> float:
    """Return how many seconds another supervisor may be silent before this supervisor takes over.

    Return 0 if there can be no other supervisor. There can be a second supervisor on a cluster, and on a Redis that
    another installation uses too, for example during an upgrade. Two supervisors that did not wait for each other would
    take over from each other again and again.
    """
    return PATIENCE_S if runtime.get("cluster") or runtime.get("shared_store") else 0.0


class SupervisorActor:
    """One supervisor for each cell, in one process.

    If this process is killed or frozen, a supervisor that stands by takes over, or else Serve starts one.
    """

    def __init__(
        self,
        settings: JsonObject,
        runtime: dict[str, str],
        identity: Identity,
        nodes: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """Check the settings.

        `nodes` returns the ids of the machines that may have replicas, or () if they are unknown.
        """
        self._nodes = nodes
        self._settings = parse_settings(settings)
        self._runtime, self._identity = runtime, identity
        self._tasks = Tasks()
        self._supervisors: list[Supervisor] = []

    async def start(self) -> None:
        configure()
        for redis in cells_of(self._runtime, self._settings):
            supervisor = self._supervise(RedisControl(redis.open(), redis.keys), first=not self._supervisors)
            self._supervisors.append(supervisor)
            name = "supervisor" if supervisor is self._supervisors[0] else f"supervisor of cell {redis.cell}"
            self._tasks.start(name, supervisor.run())
        await asyncio.sleep(0)

    def _supervise(self, control: RedisControl, *, first: bool) -> Supervisor:
        """Return the supervisor of one cell. Only that of the first cell moves replicas to other machines."""
        s = self._settings.supervision
        return Supervisor(
            control,
            SystemClock(),
            plan_config(self._settings),
            beat_s=s.beat_ms / 1000,
            silence_ms=s.silence_ms,
            chance=random.random,
            node=self._identity.get("node", ""),
            replica=self._identity.get("replica", ""),
            waited_ms=RunQueue().waited_ms,
            patience_s=patience_s(self._runtime),
            nodes=self._nodes if first else tuple,
        )

    def check(self) -> None:
        """Raise RuntimeError if Serve must replace this replica.

        Serve must replace it if a supervisor's loop has ended, or if the plan moves the replica to another machine.
        """
        self._tasks.check()
        self._supervisors[0].check()

    def statistics(self) -> dict[str, float]:
        return {"replicas": 1.0}

    async def stop(self, deadline_s: float) -> None:
        await self._tasks.stop()
