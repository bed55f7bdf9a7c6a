"""An intake replica's reports: its metrics, its use of the machine, and what it knows of the store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from dispatcher.core.plan.messages import Statement
from dispatcher.core.store.continuity import Continuity
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Control
from dispatcher.telemetry.metrics import Metrics


class Statements:
    """Publishes a report each period. A lost one is made good by the next."""

    def __init__(
        self,
        control: Control,
        metrics: Metrics,
        continuity: Continuity,
        identity: Mapping[str, Any],
        *,
        told_cores: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """`identity` names replica and node; `told_cores` gives what is measured of CPU time and free cores."""
        self._control, self._metrics, self._continuity = control, metrics, continuity
        self._identity, self._told_cores = identity, told_cores

    async def run(self, clock: Clock, period_s: float) -> None:
        """Report until cancelled."""
        while True:
            await clock.sleep(period_s)
            await self.send()

    async def send(self) -> None:
        """Report now, if the store answers."""
        statement = Statement(
            process=f"intake-{self._identity.get('replica', '')}",
            node=self._identity.get("node", ""),
            metrics=self._metrics.snapshot(),
            mark=self._continuity.mark,
            **self._told_cores(),
        )
        with contextlib.suppress(UnavailableError):
            await self._control.report(statement)
