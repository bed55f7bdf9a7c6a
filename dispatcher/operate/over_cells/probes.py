"""The answers to probes over several cells."""

from __future__ import annotations

from typing import Any

from dispatcher.core.json_object import JsonObject
from dispatcher.operate.gauges import gauges
from dispatcher.operate.listener_certificate import ListenerCertificate
from dispatcher.operate.over_cells.cells import Cells
from dispatcher.operate.over_cells.gauges import cells_up, merge_gauges
from dispatcher.operate.probes import Probes
from dispatcher.telemetry.metrics import Metrics, render


class ProbesOverCells:
    """Answers /healthz, /readyz and /metrics for all cells. The methods are those of `Probes`."""

    def __init__(self, cells: Cells[Probes]) -> None:
        self._cells = cells
        self.replica = cells[next(iter(cells))].replica

    def not_ready(self) -> str | None:
        """Return None if at least one cell would make a trigger durable that is posted now.

        Otherwise return the reason of each cell.
        """
        reasons = {cell: self._cells[cell].not_ready() for cell in self._cells}
        if None in reasons.values():
            return None
        return "; ".join(f"cell {cell}: {reason}" for cell, reason in reasons.items())

    def health(self, certificate: ListenerCertificate | None = None) -> JsonObject:
        """Return the body of /healthz: how this replica runs, and every warning for operators.

        A warning that not all cells have names its cell. `cells_away` lists the cells that do not answer.
        """
        found: dict[str, dict[str, Any]] = {cell: self._cells[cell].health(certificate) for cell in self._cells}
        away = self._cells.away()
        warnings = [f"cell {cell} is away: requests that need it are answered 503" for cell in away]
        warnings += _merged_warnings({cell: told["warnings"] for cell, told in found.items()})
        channels = sorted({channel for told in found.values() for channel in told["channels_without_vendor"]})
        return {
            **next(iter(found.values())),
            "warnings": warnings,
            "stalled": [{**stall, "cell": cell} for cell, told in found.items() for stall in told["stalled"]],
            "channels_without_vendor": channels,
            "cells_away": away,
        }

    async def metrics_text(self, certificate: ListenerCertificate | None = None) -> bytes:
        """Return the Prometheus text of the whole service, and of the certificate.

        Counters are the sums of all cells, with the last known counts of a cell that is away. The gauges of such a cell
        are missing. Raises UnavailableError if no cell answers.
        """
        readings = await self._cells.ask_some(lambda part: part.reading(certificate))
        total = Metrics()
        for cell in self._cells:
            total.add(self._cells[cell].totals())
        merged = merge_gauges({cell: gauges(reading) for cell, reading in readings.items()})
        away = [cell for cell in self._cells if cell not in readings]
        return render(total.snapshot(), [*merged, cells_up(self._cells, away)])


def _merged_warnings(by_cell: dict[str, list[str]]) -> list[str]:
    """Return each warning once. A warning that only some cells have begins with the name of its cell."""
    merged: dict[str, None] = {}
    for cell, warnings in by_cell.items():
        for warning in warnings:
            everywhere = all(warning in others for others in by_cell.values())
            merged[warning if everywhere else f"cell {cell}: {warning}"] = None
    return list(merged)
