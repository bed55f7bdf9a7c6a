"""The delivered alerts and the dashboard ask only for series that /metrics has."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.adapters.memory.cell import Cell
from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.core.life.backlog import PLACES, Backlog, MailboxDepth
from dispatcher.core.life.outcome import OutcomeKind
from dispatcher.core.plan.values import Plan, Report, VendorPlan
from dispatcher.core.store.replication import Standing
from dispatcher.operate.gauges import STATES, Reading, gauges
from dispatcher.operate.listener_certificate import ListenerCertificate
from dispatcher.operate.over_cells.gauges import cells_up
from dispatcher.telemetry.catalogue import CATALOGUE
from dispatcher.telemetry.metrics import Metrics, render
from tests.unit.cluster.delivered import FILES, loaded, text

Series = dict[str, dict[str, set[str]]]

ANSWERS = {"accepted", "replayed", "refused", "unavailable"}
KNOWN = {
    "answer": ANSWERS,
    "outcome": {kind.value for kind in OutcomeKind},
    "state": set(STATES),
    "place": {*PLACES, "dead"},
    "of": {"known", "needed", "synced"},
}
"""The values that a label may have. Other labels have names of vendors, channels and reasons."""

WORDS = {
    "offset",
    *("absent", "and", "by", "count", "deriv", "histogram_quantile", "increase"),
    *("max", "min", "on", "or", "rate", "sum", "unless", "vector"),
}
"""The words that an expression may have besides metrics' names."""


class _Control(MemoryControl):
    """A control channel in memory with one mailbox and its backlog. It also has a memory reading, which otherwise only
    Redis gives.
    """

    async def depths(self) -> dict[str, MailboxDepth]:
        return {"sms-a": MailboxDepth("sms-a", {"normal": 1}, 0, 1000)}

    async def backlog(self, depths: Any = None) -> dict[str, Backlog]:
        return {"sms-a": Backlog("sms-a")}

    async def memory(self) -> tuple[int, int]:
        return 1, 2


@pytest.fixture
async def series() -> Series:
    """Return every series that /metrics can show, as sample name → label → values.

    The service's own code renders them.
    """
    metrics = Metrics()
    for name, (kind, _, labels) in CATALOGUE.items():
        if kind == "counter":
            metrics.count(name, *labels)
        else:
            metrics.observe(name, 0.5, *labels)
    control, plan = (
        _Control(Cell(SystemClock())),
        Plan(1, 0, {"sms-a": VendorPlan("sms-a", "closed", True, ("sms-a",))}),
    )
    depths = await control.depths()
    reading = Reading(
        depths=depths,
        backlog=await control.backlog(depths),
        counts=await control.counts(),
        memory=await control.memory(),
        log_faults=(),
        plan=plan,
        channels={"sms-a": "sms"},
        stalled_s={"sms-a": 0.0},
        reports=(Report("sms-a/1", "sms-a", "closed", in_flight=3, concurrency=64),),
        replicas=Standing(2, 2, 1, True),
        certificate=ListenerCertificate(1_800_000_000, False),
    )
    shown = [*gauges(reading), cells_up("01", "1")]
    found: Series = {}
    for family in text_string_to_metric_families(render(metrics.snapshot(), shown).decode()):
        for sample in family.samples:
            labels_of = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels_of.setdefault(label, set()).add(value)
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in loaded("alerts.yml")["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text("grafana-dashboard.json"))["panels"]
    return found


EXPRESSIONS = [(rule["alert"], rule["expr"]) for rule in rules()]
EXPRESSIONS += [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS)
def test_only_our_metrics_are_asked_for(series: Series, name: str, expression: str) -> None:
    """Every alert asks only for what /metrics can show: its metrics, their labels, and those label values that are
    known.
    """
    bare = re.sub(r"\[[^]]*\]", "", expression)  # ranges
    grouped = {label for found in re.findall(r"\bby \(([^)]*)\)", bare) for label in found.replace(" ", "").split(",")}
    matched = re.findall(r'(\w+)\s*(=~|=)\s*"([^"]*)"', bare)
    words = re.sub(r"\{[^}]*\}|\bby \([^)]*\)", "", bare)
    names = set(re.findall(r"\b[a-zA-Z_]\w*", words)) - WORDS
    assert names, "an expression without a metric"
    assert names <= set(series), "not a metric of ours"
    labels = set().union(*(series[metric] for metric in names))
    assert grouped | {label for label, _, _ in matched} <= labels
    for label, operator, value in matched:
        assert set(value.split("|") if operator == "=~" else [value]) <= KNOWN[label]


def test_every_alert_says_what_and_what_to_do(series: Series) -> None:
    """Every alert has a unique name, a severity, a summary and an action.

    Its summary uses only labels of its own metrics.
    """
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "action"}
        assert re.fullmatch(r"\d+[sm]", rule.get("for", "0s"))
        metrics = re.findall(r"\bdispatcher_\w+", rule["expr"])
        labels = {label for metric in metrics for label in series[metric]}
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= labels


def test_prometheus_reads_the_rules_and_scrapes_the_service() -> None:
    """The rule files that the Prometheus configuration names exist, and exactly one target is scraped.

    Each intake replica answers with the figures of the whole service, so with two targets everything would count twice.
    """
    found = loaded("prometheus.yml")
    assert all((FILES / name).is_file() for name in found["rule_files"])
    (job,) = found["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert [target for group in job["static_configs"] for target in group["targets"]] == ["127.0.0.1:8000"]


def test_the_panels_do_not_overlap() -> None:
    """The panels do not overlap, and have unique ids. The lines of each panel have unique letters."""
    cells: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        mine = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not mine & cells and max(x for x, _ in mine) < 24, panel["title"]
        cells |= mine
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
    assert len({panel["id"] for panel in panels()}) == len(panels())
