"""Merges the gauges of several cells into the gauges of the installation.

Rules:

1. Each gauge has a rule here. A gauge without a rule raises KeyError, so that a new one is not added up by mistake.
2. Numbers of notifications and calls are added up, by labels.
3. An age, a duration or a sign of trouble is the greatest of all cells. How many vendors a channel has is the least.
4. A vendor's state is the worst of all cells. So exactly one state of a vendor is 1, as with one cell.
5. What is about one Redis or one plan keeps its own row for each cell, with the label `cell`. A sum would hide that one
   of several stores is full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from dispatcher.operate.over_cells.vendors import WORST_FIRST
from dispatcher.telemetry.metrics import Gauge

Labels = tuple[str, ...]
Rows = Mapping[str, Sequence[tuple[Labels, float]]]
"""The rows of one gauge, by cell."""


def merge_gauges(found: Mapping[str, Sequence[Gauge]]) -> list[Gauge]:
    """Return the gauges of all cells as one list. `found` has the same gauges in the same order for each cell."""
    merged = []
    for same in zip(*found.values(), strict=True):
        first: Gauge = same[0]
        rows = {cell: gauge.rows for cell, gauge in zip(found, same, strict=True)}
        merged.append(RULES[first.name](first, rows))
    return merged


def cells_up(cells: Iterable[str], away: Iterable[str]) -> Gauge:
    """Return the gauge that says which cells answer."""
    gone = set(away)
    text = "1 for a cell of an installation with several cells, 0 while its Redis does not answer"
    return Gauge("dispatcher_cell_up", text, ("cell",), [((cell,), float(cell not in gone)) for cell in cells])


def _by(choose: Callable[[list[float]], float]) -> Callable[[Gauge, Rows], Gauge]:
    """Return a rule that makes one value of all values with the same labels."""

    def merge(gauge: Gauge, rows: Rows) -> Gauge:
        values: dict[Labels, list[float]] = {}
        for cell in rows:
            for labels, value in rows[cell]:
                values.setdefault(labels, []).append(value)
        return gauge.with_rows((labels, choose(found)) for labels, found in values.items())

    return merge


def _worst_state(gauge: Gauge, rows: Rows) -> Gauge:
    assert gauge.labels == ("vendor", "state"), gauge.labels
    present: dict[str, set[str]] = {}
    shown: dict[Labels, None] = {}
    for cell in rows:
        for (vendor, state), value in rows[cell]:
            shown[vendor, state] = None
            if value:
                present.setdefault(vendor, set()).add(state)
    worst = {vendor: min(states, key=WORST_FIRST.index) for vendor, states in present.items()}
    return gauge.with_rows(((vendor, state), float(worst.get(vendor) == state)) for vendor, state in shown)


def _each_cell(gauge: Gauge, rows: Rows) -> Gauge:
    labelled = [((cell, *labels), value) for cell in rows for labels, value in rows[cell]]
    return gauge.with_rows(labelled, "cell")


RULES: Mapping[str, Callable[[Gauge, Rows], Gauge]] = {
    "dispatcher_mailbox_depth": _by(sum),
    "dispatcher_mailbox_oldest_age_seconds": _by(max),
    "dispatcher_backlog": _by(sum),
    "dispatcher_backlog_oldest_age_seconds": _by(max),
    "dispatcher_stalled_seconds": _by(max),
    "dispatcher_channel_vendors": _by(min),
    "dispatcher_breaker_state": _worst_state,
    "dispatcher_calls": _by(sum),
    "dispatcher_countries_cut_off": _by(max),
    "dispatcher_waiting": _by(sum),
    "dispatcher_own_network_suspected": _by(max),
    "dispatcher_machine_full": _by(max),
    "dispatcher_plan_epoch": _each_cell,
    "dispatcher_store_log_fails": _each_cell,
    "dispatcher_store_replicas": _each_cell,
    "dispatcher_store_memory_bytes": _each_cell,
    "dispatcher_store_memory_bytes_max": _each_cell,
    "dispatcher_certificate_left_seconds": _by(min),
    "dispatcher_certificate_refused": _by(max),
}
