"""The metrics of all processes as one text for Prometheus.

Each process keeps cumulative counters and histograms and publishes them with its reports. The supervisor adds them up
(`Totals`) and publishes the sum. Intake serves this sum and adds gauges that are read from Redis and from the plan.

A lost report does no harm, because the next report includes its counts. After a restart of the supervisor, Prometheus
sees an ordinary counter reset. Labels are vendors, outcomes, states and the first 100 tenants of the configuration. A
label is never an id or an address. A label that does not look like a short name is counted as `other`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from copy import copy

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from dispatcher.core.plan.values import Snapshot
from dispatcher.telemetry.catalogue import CATALOGUE

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0, 600.0)
"""The upper bounds of the buckets of every histogram, in seconds.

Bounds below 10 ms serve the accept path. Bounds up to 10 minutes serve the age of messages after an outage.
"""

Key = tuple[str, tuple[str, ...]]

NAME = re.compile(r"(?!.*\d{8})[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""The pattern of a label. No `@`, `+` or space is allowed, and at most seven digits in a row."""


class Metrics:
    """The cumulative counters and histograms of one process."""

    def __init__(self) -> None:
        self._counters: dict[Key, float] = {}
        self._histograms: dict[Key, list[float]] = {}

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        key = (name, labels)
        if key not in self._counters:
            key = (name, _names(labels))
        self._counters[key] = self._counters.get(key, 0.0) + by

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        """Add a measurement of `seconds` to the histogram `name` with these `labels`.

        A histogram's row holds one count per bucket, then the count above the last bound, then the sum in seconds.
        """
        row = self._histograms.get((name, labels))
        if row is None:
            row = self._histograms.setdefault((name, _names(labels)), [0.0] * (len(BUCKETS_S) + 2))
        row[bisect_left(BUCKETS_S, seconds)] += 1
        row[-1] += seconds

    def snapshot(self) -> Snapshot:
        """Return all counters and histograms since the process began, as plain values that JSON can hold."""
        return {
            "c": [[name, labels, value] for (name, labels), value in self._counters.items()],
            "h": [[name, labels, row] for (name, labels), row in self._histograms.items()],
        }

    def add(self, snapshot: Snapshot) -> None:
        """Add the counts of another process's snapshot to the counts of this object."""
        for name, labels, value in snapshot["c"]:
            self.count(name, *labels, by=value)
        for name, labels, row in snapshot["h"]:
            key = (name, tuple(labels))
            mine = self._histograms.setdefault(key, [0.0] * len(row))
            for n, value in enumerate(row):
                mine[n] += value


class Totals:
    """The sum of the metrics of all processes that run or have ended. A process counts with its latest snapshot."""

    def __init__(self) -> None:
        self._latest: dict[str, Snapshot] = {}
        self._ended = Metrics()
        self._ended_names: set[str] = set()

    def hear(self, process: str, snapshot: Snapshot) -> None:
        """Replace the snapshot of `process` by a later snapshot.

        An older snapshot, or a snapshot of an ended process, is ignored. Each start of a process needs a new name.
        Under the old name, a snapshot that counts from 0 again would look older.
        """
        known = self._latest.get(process)
        if process not in self._ended_names and (known is None or _events(snapshot) >= _events(known)):
            self._latest[process] = snapshot

    def end(self, processes: Iterable[str]) -> None:
        for process in processes:
            snapshot = self._latest.pop(process, None)
            if snapshot is not None:
                self._ended.add(snapshot)
                self._ended_names.add(process)

    def snapshot(self) -> Snapshot:
        total = Metrics()
        total.add(self._ended.snapshot())
        for snapshot in self._latest.values():
            total.add(snapshot)
        return total.snapshot()


def _events(snapshot: Snapshot) -> float:
    """Return how many events a snapshot has counted.

    Of two snapshots of a process, the snapshot with fewer events is older.
    """
    counted = sum(value for _, _, value in snapshot["c"])
    return float(counted + sum(sum(row[:-1]) for _, _, row in snapshot["h"]))


def _names(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(label if NAME.fullmatch(label) else "other" for label in labels)


class Gauge:
    """A gauge for `render`: its name, its help text, its label names, and rows of (label values, value)."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]):
        self.name, self.text, self.labels, self.rows = name, text, labels, list(rows)

    def with_rows(self, rows: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> Gauge:
        """Return this gauge with other rows, whose labels begin with the additional `labels`."""
        other = copy(self)
        other.labels, other.rows = (*labels, *self.labels), list(rows)
        return other


def render(snapshot: Snapshot, gauges: Iterable[Gauge]) -> bytes:
    """Return the text for Prometheus, with the counters and histograms of `snapshot` and with `gauges`."""
    registry = CollectorRegistry()
    registry.register(_Shown(snapshot, list(gauges)))
    return generate_latest(registry)


class _Shown(Collector):
    def __init__(self, snapshot: Snapshot, gauges: list[Gauge]) -> None:
        self._snapshot, self._gauges = snapshot, gauges

    def collect(self) -> Iterable[Metric]:
        counters = {}
        histograms = {}
        for name, (kind, text, labels) in CATALOGUE.items():
            if kind == "counter":
                counters[name] = CounterMetricFamily(name, text, labels=labels)
            else:
                histograms[name] = HistogramMetricFamily(name, text, labels=labels)
        for name, labels, value in self._snapshot.get("c", []):
            if name in counters:
                counters[name].add_metric(list(labels), value)
        for name, labels, row in self._snapshot.get("h", []):
            if name in histograms:
                histograms[name].add_metric(list(labels), buckets=_cumulative(row), sum_value=row[-1])
        yield from counters.values()
        yield from histograms.values()
        for gauge in self._gauges:
            family = GaugeMetricFamily(gauge.name, gauge.text, labels=gauge.labels)
            for labels, value in gauge.rows:
                family.add_metric(list(labels), value)
            yield family


def _cumulative(row: list[float]) -> list[tuple[str, float]]:
    total, buckets = 0.0, []
    for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), row[:-1], strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
