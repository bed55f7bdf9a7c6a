"""Tests the alert rules with Prometheus's own promtool: which alerts fire, when they fire, and which do not."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

RULES = Path(str(resources.files("cluster") / "files" / "alerts.yml"))


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("promtool is missing: install the package `prometheus`")
    if found is None:
        pytest.skip("promtool is not installed (package `prometheus`)")
    return found


def fires(promtool: str, tmp_path: Path, series: dict[str, str], expected: dict[str, dict[str, set[str]]]) -> None:
    """Play `series`, with one value per 15 s, and assert which alerts fire.

    `expected` maps each moment and alert to the labels of its firing instances. An empty set means that it must not
    fire.
    """
    rules = yaml.safe_load(RULES.read_text())
    by_name = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}
    for rule in by_name.values():  # words are not judged here, and promtool would compare them
        del rule["annotations"]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    checks = [
        {
            "eval_time": moment,
            "alertname": alert,
            "exp_alerts": [{"exp_labels": {**_labels(row), **by_name[alert]["labels"]}} for row in sorted(rows)],
        }
        for moment, alerts in expected.items()
        for alert, rows in alerts.items()
    ]
    test: dict[str, Any] = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": checks,
    }
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [test]})
    )
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _labels(row: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in row.split(",") if pair)


def test_the_rules_are_accepted(promtool: str) -> None:
    """promtool accepts the rules, with the templates in their texts."""
    done = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_channel_without_a_vendor_wakes_somebody(promtool: str, tmp_path: Path) -> None:
    """If one of two vendors of a channel is down, there is a warning. If both are down, this channel's critical alert
    fires.
    """
    fires(
        promtool,
        tmp_path,
        {
            'dispatcher_channel_vendors{channel="sms"}': "2x7 1x7 0x20",
            'dispatcher_channel_vendors{channel="email"}': "2x40",
            'dispatcher_breaker_state{vendor="sms-a",state="open"}': "0x7 1x40",
        },
        {
            "3m": {"DispatcherChannelCutOff": set()},
            "4m15s": {"DispatcherChannelCutOff": set(), "DispatcherBreakerOpen": {"vendor=sms-a,state=open"}},
            "6m": {"DispatcherChannelCutOff": {"channel=sms"}, "DispatcherBreakerOpen": {"vendor=sms-a,state=open"}},
        },
    )


def test_a_stall_wakes_somebody_at_once(promtool: str, tmp_path: Path) -> None:
    """An alert fires as soon as a vendor's stall is longer than 30 s. The rule waits no longer, because the gauge
    itself counts the seconds of the stall.

    The alert ends when the stall ends.
    """
    fires(
        promtool,
        tmp_path,
        {
            'dispatcher_stalled_seconds{vendor="sms-a"}': "0x4 31 46 61 0x9",
            'dispatcher_stalled_seconds{vendor="sms-b"}': "0x20",
        },
        {
            "1m": {"DispatcherDeliveryStalled": set()},
            "1m15s": {"DispatcherDeliveryStalled": {"vendor=sms-a"}},
            "2m15s": {"DispatcherDeliveryStalled": set()},
        },
    )


def test_one_message_that_waits_for_its_next_try_wakes_nobody(promtool: str, tmp_path: Path) -> None:
    """One old notification that is due or held, in a mailbox with nothing queued, fires no alert."""
    quiet = {
        'dispatcher_mailbox_oldest_age_seconds{mailbox="sms-a"}': "0+15x60",
        'dispatcher_backlog_oldest_age_seconds{mailbox="sms-a",place="due"}': "0+15x60",
        'dispatcher_backlog_oldest_age_seconds{mailbox="sms-a",place="held"}': "0+15x60",
        'dispatcher_backlog_oldest_age_seconds{mailbox="sms-a",place="queued"}': "0x60",
    }
    silent: dict[str, set[str]] = {"DispatcherNothingSettles": set(), "DispatcherBacklogAges": set()}
    fires(promtool, tmp_path, quiet, {"5m": silent, "14m": silent})


def test_a_mailbox_that_ages_wakes_somebody(promtool: str, tmp_path: Path) -> None:
    """If queued notifications get older and nothing is delivered, two alerts fire."""
    aging = {'dispatcher_backlog_oldest_age_seconds{mailbox="sms-a",place="queued"}': "0+15x60"}
    expected = {
        "1m": {"DispatcherNothingSettles": set()},
        "14m": {"DispatcherNothingSettles": {""}, "DispatcherBacklogAges": {"mailbox=sms-a,place=queued"}},
    }
    fires(promtool, tmp_path, aging, expected)


def test_a_replica_that_is_waited_for_in_vain_wakes_somebody(promtool: str, tmp_path: Path) -> None:
    """For half a minute, fewer replicas are in step with the primary than an accept needs. A critical alert fires.

    The alert ends when an accept needs no more replicas than are in step.
    """
    fires(
        promtool,
        tmp_path,
        {
            'dispatcher_store_replicas{of="known"}': "2x60",
            'dispatcher_store_replicas{of="needed"}': "2x20 1x40",
            'dispatcher_store_replicas{of="synced"}': "2x7 1x53",
        },
        {
            "2m": {"DispatcherReplicaAway": set()},
            "4m": {"DispatcherReplicaAway": {""}},
            "8m": {"DispatcherReplicaAway": set()},
        },
    )


def test_a_certificate_that_ends_or_is_refused_is_told(promtool: str, tmp_path: Path) -> None:
    """An alert fires ten days before a certificate ends, and another when a new certificate was refused."""
    fires(
        promtool,
        tmp_path,
        {
            "dispatcher_certificate_left_seconds": "864010-1x60",
            "dispatcher_certificate_refused": "0x10 1x50",
        },
        {
            "2m": {"DispatcherCertificateEnds": set(), "DispatcherCertificateRefused": set()},
            "9m": {"DispatcherCertificateEnds": {""}, "DispatcherCertificateRefused": {""}},
        },
    )


def test_a_cell_that_is_away_wakes_somebody(promtool: str, tmp_path: Path) -> None:
    """If one of two cells is away for 30 s, the alert names this cell. An installation with one cell has no such
    gauge.
    """
    fires(
        promtool,
        tmp_path,
        {'dispatcher_cell_up{cell="0"}': "1x40", 'dispatcher_cell_up{cell="1"}': "1x3 0x6 1x30"},
        {
            "1m": {"DispatcherCellAway": set()},
            "2m": {"DispatcherCellAway": {"cell=1"}},
            "4m": {"DispatcherCellAway": set()},
        },
    )
