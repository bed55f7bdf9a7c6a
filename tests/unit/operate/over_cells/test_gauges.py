"""Every gauge has a rule by which the values of several cells become one."""

from __future__ import annotations

import pytest

from dispatcher.core.plan.values import Plan
from dispatcher.core.store.replication import Standing
from dispatcher.operate.gauges import Reading, gauges
from dispatcher.operate.listener_certificate import ListenerCertificate
from dispatcher.operate.over_cells.gauges import RULES, merge_gauges
from dispatcher.telemetry.metrics import Gauge

EMPTY = Reading({}, {}, {}, (0, 0), (), Plan(), {}, {}, (), certificate=ListenerCertificate(1, False))


def test_each_gauge_has_a_rule() -> None:
    """The rules name exactly the gauges that one cell has."""
    assert list(RULES) == [gauge.name for gauge in gauges(EMPTY)]


@pytest.mark.parametrize(
    ("name", "merged"),
    [
        ("dispatcher_waiting", 5.0),
        ("dispatcher_backlog_oldest_age_seconds", 3.0),
        ("dispatcher_channel_vendors", 2.0),
        ("dispatcher_certificate_left_seconds", 2.0),
    ],
)
def test_numbers_are_added_ages_are_the_greatest_and_room_is_the_least(name: str, merged: float) -> None:
    found = {cell: [Gauge(name, "", ("x",), [(("y",), value)])] for cell, value in (("0", 2.0), ("1", 3.0))}
    (gauge,) = merge_gauges(found)
    assert gauge.rows == [(("y",), merged)]


def test_the_replicas_of_each_store_are_told_apart() -> None:
    """One store lacks a replica, and another has one more than it needs. A sum would hide that."""
    standings = {"0": Standing(2, 1, 2, False), "1": Standing(1, 1, 0, True)}
    readings = {
        cell: Reading({}, {}, {}, (0, 0), (), Plan(), {}, {}, (), replicas=standing)
        for cell, standing in standings.items()
    }
    merged = merge_gauges({cell: gauges(reading) for cell, reading in readings.items()})
    rows = {
        labels: value for gauge in merged if gauge.name == "dispatcher_store_replicas" for labels, value in gauge.rows
    }
    assert (rows["0", "synced"], rows["1", "synced"], rows["1", "needed"]) == (2, 0, 1)
