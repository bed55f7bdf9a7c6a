"""Checks messages between processes: the class that writes a message also reads it, even if another version wrote
it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from dispatcher.core.plan.messages import Message, Statement, Sums, read_message
from dispatcher.core.plan.values import Beat, CountryCutOff, Plan, Report, Snapshot, VendorPlan
from dispatcher.core.store.continuity import Mark

COUNTED: Snapshot = {"c": [["dispatcher_takes", ["a"], 2.0]], "h": []}
PLAN = Plan(
    3, 5, {"a": VendorPlan("a", "closed", True, ("a",))}, {"b": "removed"}, office="s/1", unmanned={"b": "no_cpu"}
)
BEAT = {"incarnation": "a/1", "vendor": "a", "replica": "r", "pid": 7, "node": "n"}
STATEMENT = {"process": "intake-r", "node": "n", "free_cores": 1.5, "metrics": COUNTED, "ledger": ["life", 9]}
REPORT = {
    "incarnation": "a/1",
    "vendor": "a",
    "breaker": "open",
    "retry_after_s": 2.5,
    "attempts": 4,
    "window": {"n": 5, "failed": 2, "slow": 0},
    "evidence": {"n": 4, "failed": 1},
    "cut_off": {"49": {"state": "open", "for_s": 1.5}},
    "in_flight": 3,
    "concurrency": 8,
    "replica": "r",
    "pid": 7,
    "node": "n",
    "version": "0.1.0",
    "calls_per_s": 1.5,
    "latency_s": 0.25,
    "reason": "failures",
    "contradicted": {"b": 1},
    "unreached": 2,
    "epoch": 3,
    "office": "s/1",
    "cpu": 0.5,
    "waiting": 0.1,
    "free_cores": 1.25,
    "process": "a-r",
    "metrics": COUNTED,
}

PUBLISHED: list[tuple[str, dict[str, Any], type]] = [
    ("beat", BEAT, Beat),
    ("report", REPORT, Report),
    ("report", STATEMENT, Statement),
    ("totals", {"totals": COUNTED, "term": 2}, Sums),
    ("plan", PLAN.to_dict(), Plan),
]
KINDS = [made.__name__ for _, _, made in PUBLISHED]


def read(kind: str, data: dict[str, Any]) -> Message:
    return read_message(kind, json.loads(json.dumps(data)))


@pytest.mark.parametrize(("kind", "data", "made"), PUBLISHED, ids=KINDS)
def test_a_message_is_read_and_written_by_one_class(kind: str, data: dict[str, Any], made: type) -> None:
    """Each kind of message is read by one class. Written back, it has the same keys and values, so earlier versions
    understand it.
    """
    message = read(kind, data)
    assert type(message) is made
    assert json.loads(json.dumps(message.to_dict())) == json.loads(json.dumps(data))


@pytest.mark.parametrize(("kind", "data", "made"), PUBLISHED, ids=KINDS)
def test_what_a_newer_version_added_is_ignored(kind: str, data: dict[str, Any], made: type) -> None:
    """A field that a newer version added is ignored, so that both versions can run during an upgrade."""
    assert read(kind, {**data, "added_later": {"x": 1}}) == read(kind, data)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("beat", {"incarnation": "a/1", "vendor": "a"}),
        ("report", {"incarnation": "a/1", "vendor": "a", "breaker": "open"}),
    ],
)
def test_what_an_older_version_did_not_send_has_its_default(kind: str, data: dict[str, Any]) -> None:
    """A beat or a report of an older version lacks fields. Each missing field has its default.

    The default means that nothing was measured or counted.
    """
    found = read(kind, data)
    assert isinstance(found, (Beat, Report))
    assert (found.incarnation, found.node, found.pid) == ("a/1", "", 0)
    assert isinstance(found, Beat) or (found.metrics, found.free_cores, found.process) == (None, None, "")


def test_values_are_read_as_values() -> None:
    """The values inside a message are read as their classes, not as plain JSON: a country that is cut off, and the mark
    of the store's count of accepted triggers.
    """
    report, statement = read("report", REPORT), read("report", STATEMENT)
    assert isinstance(report, Report) and report.cut_off == {"49": CountryCutOff("open", 1.5)}
    assert isinstance(statement, Statement) and statement.mark == Mark("life", 9)


@pytest.mark.parametrize("wrong", [None, "many", [1]])
def test_a_measure_that_is_no_number_is_not_measured(wrong: object) -> None:
    """A report has free cores that are no number. They are read as not measured, and do not end the supervisor with an
    error.
    """
    for data in (REPORT, STATEMENT):
        found = read("report", {**data, "free_cores": wrong})
        assert isinstance(found, (Report, Statement)) and found.free_cores is None


def test_what_was_not_measured_is_not_published() -> None:
    """A measure that was not taken has no key in the message, because an older version reads any key as measured."""
    assert Statement("intake-r").to_dict() == {"process": "intake-r", "node": ""}
    assert "metrics" not in Report("a/1", "a", "closed").to_dict()


def test_a_statement_tells_what_receipts_refused() -> None:
    """The report of an intake replica (`Statement`) has the number of refusals by receipt, for each vendor and country.

    A report without that field is read as having no refusals.
    """
    told = Statement("intake-r", refused={"a": {"": 1, "US": 12}})
    assert read("report", json.loads(json.dumps(told.to_dict()))) == told
    found = read("report", {"process": "intake-r"})
    assert isinstance(found, Statement) and found.refused == {}


@pytest.mark.parametrize("told", [Statement("intake-r"), Report("a/1", "a", "closed")], ids=["statement", "report"])
def test_a_single_cell_is_not_published(told: Statement | Report) -> None:
    """A process that knows one cell publishes what a version without cells did, and such a message means one cell."""
    assert "cells" not in told.to_dict()
    found, three = read("report", told.to_dict()), read("report", replace(told, cells=3).to_dict())
    assert isinstance(found, (Statement, Report)) and isinstance(three, (Statement, Report))
    assert (found.cells, three.cells) == (1, 3)
