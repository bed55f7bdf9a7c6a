"""The supervisor actor starts, stops and checks `dispatcher.supervise.supervisor`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping

from actors.runtime import Tasks, open_redis
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
    """Return the part of the settings that is needed to decide the plan."""
    vendors = {
        name: VendorConfig(
            name,
            v.channel,
            v.rate_per_s,
            v.replicas_min,
            v.replicas_max,
            provider(v.adapter).calls_at_once(v.concurrency_max),
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
    """One supervisor.

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

    async def start(self) -> None:
        configure()
        s = self._settings.supervision
        control = RedisControl(open_redis(self._runtime))
        supervisor = self._supervisor = Supervisor(
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
            nodes=self._nodes,
        )
        self._tasks.start("supervisor", supervisor.run())
        await asyncio.sleep(0)

    def check(self) -> None:
        """Raise RuntimeError if Serve must replace this replica.

        Serve must replace it if the supervisor's loop has ended, or if the plan moves the replica to another machine.
        """
        self._tasks.check()
        self._supervisor.check()

    def statistics(self) -> dict[str, float]:
        return {"replicas": 1.0}

    async def stop(self, deadline_s: float) -> None:
        await self._tasks.stop()
