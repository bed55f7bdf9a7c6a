"""The reports of a vendor actor about itself, for the supervisor and intake. A report carries the actor's metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.plan.identity import Identity
from dispatcher.core.plan.values import CountryCutOff, Report
from dispatcher.deliver.breaker_memory import BreakerMemory
from dispatcher.deliver.courier import Courier
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Control
from dispatcher.telemetry.log import logger
from dispatcher.telemetry.metrics import Metrics
from dispatcher.waiting import rung


class Reporter:
    """Publishes a report each `period_s` seconds, and at once when `changed` is set.

    `identity` names the replica, the process and the node.
    """

    def __init__(
        self,
        courier: Courier,
        control: Control,
        clock: Clock,
        metrics: Metrics,
        *,
        memory: BreakerMemory,
        identity: Identity,
        changed: asyncio.Event,
        period_s: float,
        version: str,
        before: Callable[[], None] = lambda: None,
        told_cores: Callable[[], Mapping[str, float]] = dict,
        cells: int = 1,
    ) -> None:
        """Prepare to report.

        `told_cores` returns the `cpu`, `waiting` and `free_cores` of the report, if they are measured. `before` is
        called before each report. `cells` is how many cells the actor drains.
        """
        self._courier, self._control, self._clock, self._metrics = courier, control, clock, metrics
        self._memory, self._identity, self._version = memory, identity, version
        self._changed, self._period_s, self._before = changed, period_s, before
        self._told_cores, self._cells = told_cores, cells
        self._reason = ""  # of the breaker's last change

    async def run(self) -> None:
        """Publish reports until cancelled. If the store does not answer, the next report replaces the lost one."""
        while True:
            await rung(self._changed, self._period_s)
            self._changed.clear()
            self._before()
            self._count_transitions()
            if self._courier.me:
                with contextlib.suppress(UnavailableError):
                    await self.send()
                    await self._memory.remember(self._courier.me)

    async def send(self) -> None:
        """Publish a report now. Raises UnavailableError."""
        await self._control.report(self.report())

    def report(self) -> Report:
        courier, breaker, gate = self._courier, self._courier.breaker, self._courier.gate
        now_s = self._clock.now_s()
        metrics = breaker.metrics(int(now_s * 1e9))
        calls_per_s, latency_s = courier.delivery.throughput.read(now_s)
        cores = self._told_cores()
        return Report(
            cpu=cores.get("cpu"),
            waiting=cores.get("waiting", 0.0),
            free_cores=cores.get("free_cores"),
            incarnation=courier.me,
            vendor=courier.vendor.name,
            epoch=courier.plan.epoch,
            office=courier.plan.office,
            breaker=breaker.state.value,
            retry_after_s=round(metrics.retry_after_ns / 1e9, 3),
            attempts=metrics.attempts,
            reason="" if breaker.state is BreakerState.CLOSED else self._reason,
            window={"n": metrics.buffered, "failed": metrics.failed, "slow": metrics.slow},
            evidence=gate.evidence(),
            contradicted=courier.delivery.contradictions.counts(int(now_s * 1e9)),
            unreached=gate.unreached,
            cut_off={name: CountryCutOff(f.state.value, round(f.for_s, 1)) for name, f in gate.cut_off().items()},
            in_flight=courier.in_flight,
            concurrency=gate.concurrency.value,
            calls_per_s=round(calls_per_s, 2),
            latency_s=round(latency_s, 4),
            replica=self._identity.get("replica", ""),
            pid=self._identity.get("pid", 0),
            node=self._identity.get("node", ""),
            version=self._version,
            process=f"{courier.vendor.name}-{self._identity.get('replica', '')}",
            metrics=self._metrics.snapshot(),
            cells=self._cells,
        )

    def _count_transitions(self) -> None:
        vendor = self._courier.vendor.name
        for event in self._courier.breaker.drain_events():
            if event.to is not None:
                self._reason = event.reason
                self._metrics.count("dispatcher_transitions", vendor, event.to.value)
                logger().warning("breaker_changed", vendor=vendor, state=event.to.value, reason=event.reason)
        keys = self._courier.gate.keys
        for change in keys.drain_changes() if keys is not None else ():
            log = logger().warning if change.to is BreakerState.OPEN else logger().info
            log("country_changed", vendor=vendor, country=change.key, state=change.to.value, reason=change.reason)
