"""The reports of an intake replica: its metrics, its CPU use, and what it knows about the store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from dispatcher.core.plan.identity import Identity
from dispatcher.core.plan.messages import Statement
from dispatcher.core.store.continuity import Continuity
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Control
from dispatcher.telemetry.metrics import Metrics


class Statements:
    """Publishes the reports of one intake replica (`Statement`), one in each period.

    If a report is lost, the next report replaces it.
    """

    def __init__(
        self,
        control: Control,
        metrics: Metrics,
        continuity: Continuity,
        identity: Identity,
        *,
        told_cores: Callable[[], Mapping[str, float]] = dict,
        refused: Callable[[], Mapping[str, Mapping[str, int]]] = dict,
        cells: Callable[[], int] = lambda: 1,
    ) -> None:
        """Prepare to report the state of this intake replica. `identity` names the replica and its node.

        `told_cores` returns the measured CPU use and free cores, each under the name of its field in the report. It
        returns {} if nothing is measured. `refused` returns how many messages vendors have refused by receipts: a count
        for each country, for each vendor. `cells` returns in how many cells this replica can accept triggers.
        """
        self._control, self._metrics, self._continuity = control, metrics, continuity
        self._identity, self._told_cores, self._refused = identity, told_cores, refused
        self._cells = cells

    async def run(self, clock: Clock, period_s: float) -> None:
        """Publish this replica's statement, which is intake's report, every `period_s` seconds until cancelled."""
        while True:
            await clock.sleep(period_s)
            await self.send()

    async def send(self) -> None:
        """Publish a report now. If the store does not answer, the report is lost and no error is raised."""
        statement = Statement(
            process=f"intake-{self._identity.get('replica', '')}",
            node=self._identity.get("node", ""),
            metrics=self._metrics.snapshot(),
            mark=self._continuity.mark,
            refused=self._refused(),
            cells=self._cells(),
            **self._told_cores(),
        )
        with contextlib.suppress(UnavailableError):
            await self._control.report(statement)
