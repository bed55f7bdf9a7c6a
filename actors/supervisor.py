"""The supervisor actor starts, stops and checks `dispatcher.supervise.supervisor`."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from actors.assembly import calls_part, part
from actors.runtime import Tasks, cells_of
from dispatcher.adapters.providers import provider
from dispatcher.adapters.redis.cells import RedisCellMember
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.run_queue import RunQueue
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.cell_start import join_cells
from dispatcher.config.settings import Settings, parse_settings
from dispatcher.core.accepting.routing import possible_chains
from dispatcher.core.json_object import JsonObject
from dispatcher.core.plan.identity import Identity
from dispatcher.core.plan.messages import Statement
from dispatcher.core.plan.values import PlanConfig, Report, VendorConfig
from dispatcher.errors import UnavailableError
from dispatcher.ports import CellMember, Clock, Control
from dispatcher.supervise.growth import Growth, KnownCells
from dispatcher.supervise.override_copy import copy_overrides
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


AGAIN_S = 0.5
"""The time in seconds after which a cell that did not answer is asked again."""


async def joined(members: Sequence[CellMember], clock: Clock) -> None:
    """Return when the first cell has joined the installation, or when another cell tells that the installation exists.

    The first supervisor waits for this before its first term. So a first cell that has a term and no membership
    belonged to processes that did not know the others. Raises ConfigError if a server is the wrong one.
    """
    while True:
        with contextlib.suppress(UnavailableError):
            if members[0].cell not in await members[0].found():  # otherwise a cell that is away costs no time here
                await join_cells(members, secrets.token_hex(8))
            return
        await clock.sleep(AGAIN_S)


async def overrides_copied(first: Control, new: Control, clock: Clock) -> None:
    """Return when a cell after the first one has overrides (`copy_overrides`) or a plan."""
    while True:
        with contextlib.suppress(UnavailableError):
            await copy_overrides(first, new)
            return
        await clock.sleep(AGAIN_S)


class SupervisorActor:
    """One supervisor for each cell, in one process.

    If this process is killed or frozen, a supervisor that stands by takes over, or else Serve starts one.
    """

    def __init__(
        self,
        settings: JsonObject,
        runtime: dict[str, str],
        identity: Identity,
        *,
        nodes: Callable[[], Collection[str]] = tuple,
        free_cpus: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Check the settings.

        `nodes` returns the ids of the machines that may have replicas, or () if they are unknown. `free_cpus` returns
        how many CPUs are free on each of these machines, or an empty dict.
        """
        self._nodes, self._free_cpus = nodes, free_cpus
        self._settings = parse_settings(settings)
        self._runtime, self._identity = runtime, identity
        self._tasks = Tasks()
        self._supervisors: list[Supervisor] = []

    async def start(self) -> None:
        configure()
        if self._settings.store.cells:
            self._start_over_cells()
        else:
            (redis,) = cells_of(self._runtime, self._settings)
            self._supervisors.append(self._supervise(RedisControl(redis.open(), redis.keys), first=True))
            self._tasks.start("supervisor", self._supervisors[0].run())
        await asyncio.sleep(0)

    def _start_over_cells(self) -> None:
        """Start a supervisor for each cell, and the loop that puts new cells in force."""
        found, clock, cells = cells_of(self._runtime, self._settings), SystemClock(), list[tuple[CellMember, Control]]()
        for redis in found:
            connection = redis.open()
            replicated = redis.open_replicated(self._settings, connection)
            if replicated is not None:
                self._tasks.start(f"replicas of cell {redis.cell}", replicated.watch())
            cells.append((RedisCellMember(connection, redis.cell, replicated), RedisControl(connection, redis.keys)))
        (_, control), *others = cells
        known = KnownCells({*self._settings.vendors, "intake"}, self._settings.supervision.report_ms / 1000)
        growth = Growth(cells, known, clock, lambda: first.in_office_s)
        first = self._supervise(control, first=True, heard=growth.hear)
        self._supervisors.append(first)
        self._tasks.start("supervisor", _after(joined([member for member, _ in cells], clock), first))
        for member, other in others:
            supervisor = self._supervise(other, first=False)
            self._supervisors.append(supervisor)
            prepared = overrides_copied(control, other, clock)
            self._tasks.start(f"supervisor of cell {member.cell}", _after(prepared, supervisor))
        self._tasks.start("cells", growth.run())

    def _supervise(
        self, control: Control, *, first: bool, heard: Callable[[Report | Statement], None] = lambda told: None
    ) -> Supervisor:
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
            free_cpus=self._free_cpus,
            vendor_cpus=float(self._runtime.get("vendor_cpus", 0.0)),
            heard=heard,
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


async def _after(prepared: Awaitable[None], supervisor: Supervisor) -> None:
    await prepared
    await supervisor.run()
