"""The text of /metrics has agreed names, its sums survive restarts, and it contains no customer's data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.adapters.providers.http import Answer
from dispatcher.adapters.providers.twilio import classify
from dispatcher.core.life.outcome import Outcome
from dispatcher.telemetry.catalogue import CATALOGUE
from dispatcher.telemetry.metrics import BUCKETS_S, Gauge, Metrics, Totals, render
from tests.unit.stage import ScriptedVendor, Stage
from tests.virtual import until, virtual

GOLDEN = Path(__file__).parents[2] / "golden" / "metrics.txt"
ACCEPTS, ATTEMPTS, TIMES = "dispatcher_accepts", "dispatcher_attempts", "dispatcher_attempt_seconds"


def counted(snapshot: dict[str, Any], name: str, *labels: str) -> float:
    """Return the value of one counter in a snapshot, or 0 if the counter is not in it."""
    rows = {(row[0], tuple(row[1])): row[2] for row in snapshot["c"]}
    found: float = rows.get((name, labels), 0.0)
    return found


def wire(metrics: Metrics) -> dict[str, Any]:
    """Return the metrics' snapshot as another process receives it: written as JSON and read again."""
    found: dict[str, Any] = json.loads(json.dumps(metrics.snapshot()))
    return found


# ---- the text


def samples() -> bytes:
    """Return the text of /metrics for the counts of three processes, one of which has ended, and two gauges."""
    intake, vendor, ended = Metrics(), Metrics(), Metrics()
    intake.count(ACCEPTS, "accepted", by=3)
    intake.count(ACCEPTS, "unavailable")
    intake.count("dispatcher_accepted_notifications", "sms", by=3)
    for seconds in (0.0005, 0.01, 0.0100001, 700.0):
        intake.observe("dispatcher_accept_seconds", seconds)
    vendor.count(ATTEMPTS, "sms-a", "accepted", by=2)
    vendor.count(ATTEMPTS, "sms-a", "unknown")
    vendor.observe(TIMES, 0.25, "sms-a")
    vendor.count("dispatcher_moves", "sms-a", "sms-b")
    vendor.count("dispatcher_dead", "sms-a", "twilio_21211")
    vendor.count("dispatcher_transitions", "sms-a", "open")
    ended.count(ATTEMPTS, "sms-a", "accepted", by=5)
    ended.observe(TIMES, 0.25, "sms-a")
    totals = Totals()
    for name, metrics in (("intake-1", intake), ("sms-a-1", vendor), ("sms-a-0", ended)):
        totals.hear(name, wire(metrics))
    totals.end(["sms-a-0"])
    gauges = [
        Gauge(
            "dispatcher_mailbox_depth",
            "Entries in a lane of a mailbox, including claimed ones",
            ("mailbox", "lane"),
            [(("sms-a", "high"), 0), (("sms-a", "normal"), 12)],
        ),
        Gauge("dispatcher_plan_epoch", "Epoch of the plan in force", (), [((), 7)]),
    ]
    return render(totals.snapshot(), gauges)


def test_the_text_is_the_one_that_was_agreed() -> None:
    """For fixed inputs the whole text equals the golden file, because dashboards and alerts depend on it."""
    assert samples().decode() == GOLDEN.read_text()


def test_every_name_is_shown_before_it_is_first_counted() -> None:
    """An empty service shows every metric, so that an alert can find one that is missing."""
    shown = {
        family.name: family.type for family in text_string_to_metric_families(render(Metrics().snapshot(), []).decode())
    }
    assert shown == {name: kind for name, (kind, _, _) in CATALOGUE.items()}


def test_a_name_of_a_newer_version_is_left_out() -> None:
    """A metric that this version does not know is left out.

    During a rolling update an older intake must not fail on it.
    """
    metrics = Metrics()
    metrics.count("dispatcher_of_tomorrow", "x")
    metrics.observe("dispatcher_seconds_of_tomorrow", 1.0)
    assert b"tomorrow" not in render(wire(metrics), [])


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (0.01, 3), (0.010001, 4), (600.0, 15), (601.0, 16)])
def test_a_bucket_holds_its_upper_bound(seconds: float, bucket: int) -> None:
    """A bucket counts values up to and including its bound `le`, as in Prometheus.

    Larger values than the last bound count only in +Inf.
    """
    metrics = Metrics()
    metrics.observe("dispatcher_accept_seconds", seconds)
    row = metrics.snapshot()["h"][0][2]
    assert row[:-1] == [float(n == bucket) for n in range(len(BUCKETS_S) + 1)]
    assert row[-1] == seconds


# ---- sums over processes


def test_a_process_that_starts_anew_adds_to_what_its_predecessor_counted() -> None:
    """When a process restarts, its counts are added to its predecessor's last report, before and after the
    predecessor is declared ended.
    """
    totals, before, after = Totals(), Metrics(), Metrics()
    before.count(ATTEMPTS, "a", "accepted", by=5)
    totals.hear("a-1", wire(before))
    after.count(ATTEMPTS, "a", "accepted", by=2)
    totals.hear("a-2", wire(after))
    assert counted(totals.snapshot(), ATTEMPTS, "a", "accepted") == 7
    totals.end(["a-1"])
    assert counted(totals.snapshot(), ATTEMPTS, "a", "accepted") == 7


def test_a_report_says_the_whole_so_a_lost_one_is_made_good() -> None:
    """A report holds all counts since the start of its process. So a later report replaces a lost one."""
    totals, metrics = Totals(), Metrics()
    for _ in range(3):
        metrics.count(ACCEPTS, "accepted")
        metrics.observe("dispatcher_accept_seconds", 0.5)
    totals.hear("intake", wire(metrics))
    snapshot = totals.snapshot()
    assert counted(snapshot, ACCEPTS, "accepted") == 3
    assert snapshot["h"][0][2][-1] == 1.5


def test_a_repeated_report_counts_once() -> None:
    """The same report is heard a second time. The sum does not change, even if the process was declared ended
    meanwhile.
    """
    totals, metrics = Totals(), Metrics()
    metrics.count(ACCEPTS, "accepted", by=4)
    for _ in range(3):
        totals.hear("intake", wire(metrics))
        assert counted(totals.snapshot(), ACCEPTS, "accepted") == 4
    totals.end(["intake"])
    totals.end(["intake"])
    totals.hear("intake", wire(metrics))
    assert counted(totals.snapshot(), ACCEPTS, "accepted") == 4


def test_an_older_report_that_comes_late_is_ignored() -> None:
    """An older report does not lower a total.

    Prometheus would take a lower total for a restart and count everything again.
    """
    totals, metrics = Totals(), Metrics()
    metrics.count(ACCEPTS, "accepted", by=4)
    older = wire(metrics)
    metrics.count(ACCEPTS, "replayed")
    metrics.observe("dispatcher_accept_seconds", 0.5)
    totals.hear("intake", wire(metrics))
    newest = totals.snapshot()
    totals.hear("intake", older)
    assert totals.snapshot() == newest


def test_a_snapshot_is_a_copy_of_nothing_that_grows() -> None:
    """A snapshot does not change when its metrics count further, or when it is added to other metrics."""
    metrics = Metrics()
    metrics.observe("dispatcher_accept_seconds", 0.5)
    before = wire(metrics)
    total = Metrics()
    total.add(before)
    total.add(before)
    metrics.observe("dispatcher_accept_seconds", 0.5)
    assert before["h"][0][2][-1] == 0.5
    assert total.snapshot()["h"][0][2][-1] == 1.0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 2), st.integers(1, 5)),
        st.tuples(st.just("report"), st.integers(0, 2), st.integers(0, 4)),
        st.tuples(st.just("restart"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("end"), st.integers(0, 2), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_history_of_reports_makes_a_total_fall_or_overcount(steps: list[tuple[str, int, int]]) -> None:
    """For repeated, late and reordered reports of processes that restart and end, the total is always the sum of the
    largest reports.
    """
    totals = Totals()
    lives = [0, 0, 0]
    metrics = {(n, 0): Metrics() for n in range(3)}
    said: dict[tuple[int, int], list[dict[str, Any]]] = {}
    heard: dict[tuple[int, int], float] = {}
    ended: set[tuple[int, int]] = set()
    last = 0.0
    for step, n, number in steps:
        life = (n, lives[n])
        if step == "count":
            metrics[life].count(ACCEPTS, "accepted", by=number)
            said.setdefault(life, []).append(wire(metrics[life]))
        elif step == "report":
            known = sorted(said)
            if not known:
                continue
            who = known[number % len(known)]
            report = said[who][-1 - number % len(said[who])]
            totals.hear(f"{who}", report)
            if who not in ended:
                heard[who] = max(heard.get(who, 0.0), counted(report, ACCEPTS, "accepted"))
        elif step == "restart":
            lives[n] += 1
            metrics[n, lives[n]] = Metrics()
        else:
            totals.end([f"{life}"])
            ended |= {life} & heard.keys()
        total = counted(totals.snapshot(), ACCEPTS, "accepted")
        assert total == sum(heard.values())
        assert total >= last
        last = total


# ---- nobody is in it


def test_labels_are_of_a_closed_set() -> None:
    """The names of all labels are in a fixed list. None of these labels holds an id or a recipient."""
    names = {label for _, _, labels in CATALOGUE.values() for label in labels}
    assert names == {"answer", "channel", "outcome", "reason", "tenant", "to", "vendor"}


ADDRESSES = (
    "+4915112345678",
    "4915112345678",
    "004915112345678",
    "ada@example.com",
    "ada.lovelace+shop@example.com",
    "no such number +49 151 12345678",
    "twilio_4915112345678",
    "550 5.1.1 <ada@example.com>: unknown",
    "",
    "x" * 65,
    "Müller",
    "two words",
    "line\nbreak",
)


@pytest.mark.parametrize("text", ADDRESSES)
def test_a_label_that_could_be_an_address_is_counted_as_other(text: str) -> None:
    """A label value that may be an address becomes `other` in counters and histograms. The count itself is kept."""
    metrics = Metrics()
    for _ in range(2):
        metrics.count("dispatcher_dead", "sms-a", text)
        metrics.observe(TIMES, 0.1, text)
    assert metrics.snapshot()["c"] == [["dispatcher_dead", ("sms-a", "other"), 2.0]]
    assert [row[1] for row in metrics.snapshot()["h"]] == [("other",)]
    assert sum(metrics.snapshot()["h"][0][2][:-1]) == 2


@pytest.mark.parametrize("text", ["sms-a", "1-sms", "twilio_21211", "http_503", "attempts_exhausted", "acct-1234567"])
def test_an_ordinary_label_is_kept(text: str) -> None:
    """A label value that is a vendor's name or a reason stays as it is."""
    metrics = Metrics()
    metrics.count("dispatcher_dead", text, text)
    assert metrics.snapshot()["c"][0][1] == (text, text)


@given(st.text(max_size=80))
def test_no_text_at_all_brings_an_address_in(text: str) -> None:
    """For any text, a label has only ASCII letters, digits, `_`, `.` and `-`, and never eight digits in a row."""
    metrics = Metrics()
    metrics.count("dispatcher_dead", text, text)
    for label in metrics.snapshot()["c"][0][1]:
        assert label.isascii()
        assert label.replace("_", "").replace(".", "").replace("-", "").isalnum()
        assert not any(label[n : n + 8].isdigit() for n in range(len(label) - 7))


@virtual
async def test_a_vendor_that_answers_with_an_address_does_not_bring_it_into_the_metrics() -> None:
    """A vendor's reason contains an address. In the metrics this reason is counted as `other`.

    An error code that looks like a phone number is not even stored.
    """
    stage = Stage()
    vendor = ScriptedVendor("a", [Outcome.rejected("no such number: +4915112345678"), _of_twilio()])
    await stage.courier(vendor)
    first, second = await stage.accept(2, chain=("a",))
    await until(lambda: stage.states() == ["dead", "due"])
    assert [attempt.reason for attempt in stage.cell.found(second)[1].history] == ["http_400"]
    text = render(stage.metrics.snapshot(), []).decode()
    assert "15112345678" not in text
    assert "no such number" not in text
    assert stage.state(first) == "dead"
    assert stage.counted("dispatcher_dead", "a", "other") == 1


def _of_twilio() -> Outcome:
    """Return what the Twilio adapter reads from an answer whose error code is a telephone number."""
    return classify(Answer(400, {}, b'{"code": 4915112345678, "message": "+4915112345678 is wrong"}'))
