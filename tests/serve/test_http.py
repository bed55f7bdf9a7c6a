"""The HTTP interface from a caller's side, on the whole running service."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cluster.local.foreground import LIBRARY_LOG
from cluster.local.ray_core import CORE_OF_RAY
from cluster.local.service import Service
from cluster.local.state_directory import processes_of
from tests.chaos.running import wait_for

pytestmark = pytest.mark.serve

GOOD: dict[str, Any] = {
    "event": "checkout.completed",
    "recipient": {"email": "ada@example.com", "phone": "+4915112345678"},
    "data": {"order": "N900000", "total": "1.00", "currency": "EUR", "name": "Ada"},
}

VENDORS = ("sms-a", "sms-b", "email-a", "email-b")
FINAL = {"twilio_21610", "vonage_7", "http_400", "smtp_550"}
"""The reasons with which the sandbox's vendors refuse a message for good."""


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


LISTENS = "0A"  # in /proc/net/tcp
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def ask(service: Service, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Answer:
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    request = urllib.request.Request(service.api + path, data, {"Content-Type": "application/json", **(headers or {})})
    request.method = method
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return _answer(answer.status, answer)
    except urllib.error.HTTPError as error:
        return _answer(error.code, error)


def _answer(status: int, answer: Any) -> Answer:
    text = answer.read()
    headers = {name.lower(): value for name, value in answer.headers.items()}
    is_json = "json" in headers.get("content-type", "")
    return Answer(status, json.loads(text) if is_json else text.decode(), headers)


def post(service: Service, body: Any, **headers: str) -> Answer:
    return ask(
        service, "POST", "/v1/triggers", body, headers={name.replace("_", "-"): v for name, v in headers.items()}
    )


def changed(**parts: Any) -> dict[str, Any]:
    return {**GOOD, **parts}


BAD = [
    pytest.param(b'{"event": "x"', 400, "body", id="malformed"),
    pytest.param(b'{"event": NaN}', 400, "body", id="NaN"),
    pytest.param(b"[" * 100_000, 400, "body", id="too deep"),
    pytest.param(b"\xff\xfe", 400, "body", id="no UTF-8"),
    pytest.param([], 422, "body", id="no object"),
    pytest.param(changed(event=7), 422, "event", id="wrong type"),
    pytest.param(changed(event="no.such.event"), 422, "event", id="unknown event"),
    pytest.param(changed(colour="red"), 422, "colour", id="unknown field"),
    pytest.param(changed(recipient={"phone": "+4915112345678"}), 422, "recipient.email", id="no address"),
    pytest.param(changed(recipient={**GOOD["recipient"], "phone": "12"}), 422, "recipient.phone", id="bad phone"),
    pytest.param(changed(recipient={**GOOD["recipient"], "email": "a@x.de, b@x.de"}), 422, "recipient.email", id="two"),
    pytest.param(
        changed(recipient={**GOOD["recipient"], "email": "a@x.de\r\nX: y"}), 422, "recipient.email", id="CRLF"
    ),
    pytest.param(changed(recipient={**GOOD["recipient"], "email": "a\0@x.de"}), 422, "recipient.email", id="NUL"),
    pytest.param(changed(send_at="2001-01-01T00:00:00Z"), 422, "send_at", id="expired send_at"),
    pytest.param(changed(data={"x": "y" * 300_000}), 413, "body", id="too large"),
]


@pytest.mark.parametrize(("body", "status", "field"), BAD)
def test_bad_input_names_the_field_and_stores_nothing(service: Service, body: Any, status: int, field: str) -> None:
    """Each wrong body gets a problem detail with the field, and no trigger is stored under its key."""
    key = f"bad-{time.time_ns()}"
    answer = post(service, body, Idempotency_Key=key)
    assert (answer.status, answer.body["field"]) == (status, field)
    assert answer.headers["content-type"] == "application/problem+json"
    assert ask(service, "GET", f"/v1/triggers?idempotency_key={key}").status == 404


def test_a_compressed_body_is_refused(service: Service) -> None:
    """A body with a Content-Encoding, or with a Content-Type other than JSON, gets a 415."""
    assert post(service, GOOD, Content_Encoding="gzip").status == 415
    assert post(service, GOOD, Content_Type="text/plain").status == 415


def test_a_repeated_key_replays_and_another_body_conflicts(service: Service) -> None:
    """The same key and body get the first answer again. The same key with another body gets a 409."""
    key = f"key-{time.time_ns()}"
    first = post(service, GOOD, Idempotency_Key=key)
    again = post(service, GOOD, Idempotency_Key=key)
    other = post(service, changed(priority="bulk"), Idempotency_Key=key)
    assert (first.status, again.status, other.status) == (202, 202, 409)
    assert again.body == {**first.body, "replayed": True}
    assert other.body["field"] == "idempotency_key"


def test_a_trigger_tells_every_attempt(service: Service) -> None:
    """GET by id and by key shows each notification as settled, with its attempt and without an address."""
    key = f"tell-{time.time_ns()}"
    tid = post(service, GOOD, Idempotency_Key=key).body["id"]

    def settled() -> bool:
        found = ask(service, "GET", f"/v1/triggers/{tid}").body
        return all(n["state"] == "settled" for n in found["notifications"])

    wait_for(settled, 10)
    by_key = ask(service, "GET", f"/v1/triggers?idempotency_key={key}").body
    assert by_key["id"] == tid
    assert [n["attempts"][0]["outcome"] for n in by_key["notifications"]] == ["accepted", "accepted"]
    assert "ada@example.com" not in json.dumps(by_key)
    assert ask(service, "GET", "/v1/triggers/0-aaaaaaaaaaaaaaaaaaaaaaaaaa").status == 404


def test_a_batch_answers_each_item(service: Service) -> None:
    """Each item of a batch gets its own status. A repeat of the batch with the same key gets the same ids."""
    key = f"batch-{time.time_ns()}"
    items = [GOOD, changed(event="nope"), changed(priority="high")]
    answers = [
        ask(service, "POST", "/v1/triggers/batch", {"triggers": items}, headers={"Idempotency-Key": key})
        for _ in range(2)
    ]
    assert [a.status for a in answers] == [207, 207]
    assert [[r["status"] for r in a.body["results"]] for a in answers] == [[202, 422, 202]] * 2
    assert [r["id"] for r in answers[0].body["results"] if "id" in r] == [
        r["id"] for r in answers[1].body["results"] if "id" in r
    ]


def test_a_delayed_trigger_can_be_cancelled(service: Service) -> None:
    """A trigger with `send_at` is delayed and can be cancelled. A second cancel gives the same result."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    tid = post(service, changed(send_at=when)).body["id"]
    states = {n["state"] for n in ask(service, "GET", f"/v1/triggers/{tid}").body["notifications"]}
    assert states == {"delayed"}
    first = ask(service, "POST", f"/v1/triggers/{tid}/cancel", {}).body
    again = ask(service, "POST", f"/v1/triggers/{tid}/cancel", {}).body
    assert {n["result"] for n in first["notifications"]} == {"cancelled"}
    assert {n["result"] for n in again["notifications"]} == {"cancelled"}


def test_a_missing_variable_is_refused_with_its_name(service: Service) -> None:
    """A trigger that lacks a variable of its template gets a 422 that names the variable."""
    answer = post(service, changed(data={"order": "N900001", "total": "1", "currency": "EUR"}))
    assert answer.status == 422
    assert "name" in answer.body["detail"]


def test_redrive_and_discard_act_once(service: Service) -> None:
    """Both notifications of a trigger are refused and become dead letters. One letter is redriven and dies again.

    Then both letters are discarded. A second discard finds nothing.
    """
    for vendor in VENDORS:
        service.fault(vendor, mode="reject")
    try:
        _redrive_and_discard(service)
    finally:
        for vendor in VENDORS:
            service.fault(vendor, mode="none")


def _redrive_and_discard(service: Service) -> None:
    tid = post(service, changed()).body["id"]

    def dead() -> list[dict[str, Any]]:
        ids = f"{tid}.0,{tid}.1"
        found: list[dict[str, Any]] = ask(service, "GET", f"/v1/dead-letters?ids={ids}").body["dead_letters"]
        return found

    wait_for(lambda: len(dead()) == 2, 10)
    assert {letter["reason"] for letter in dead()} <= FINAL
    one = {"ids": [f"{tid}.0"]}
    assert ask(service, "POST", "/v1/dead-letters/redrive", one).body["count"] == 1
    wait_for(lambda: len(dead()) == 2, 10)
    both = {"ids": [f"{tid}.0", f"{tid}.1"]}
    assert ask(service, "POST", "/v1/dead-letters/discard", both).body["count"] == 2
    assert ask(service, "POST", "/v1/dead-letters/discard", both).body["count"] == 0


def test_a_changed_template_is_used_within_a_second(service: Service) -> None:
    """A new template version is used for triggers accepted a second later. The earlier version can still be read."""
    before = ask(service, "GET", "/v1/templates/failed-sms").body
    changed_text = {"text": "Changed: {{ order }} " + str(time.time_ns())}
    put = ask(service, "PUT", "/v1/templates/failed-sms", changed_text)
    assert put.body["version"] == before["version"] + 1
    time.sleep(1.0)
    tid = post(service, changed(event="checkout.failed")).body["id"]
    found = ask(service, "GET", f"/v1/triggers/{tid}").body["notifications"][0]
    assert found["template_version"] == put.body["version"]
    assert ask(service, "GET", f"/v1/templates/failed-sms?version={before['version']}").body["text"] == before["text"]
    assert ask(service, "PUT", "/v1/templates/failed-sms", {"text": "{{ broken"}).status == 422
    ask(service, "PUT", "/v1/templates/failed-sms", {"text": before["text"]})


def test_an_operator_opens_a_vendor_and_the_fallback_takes_over(service: Service) -> None:
    """After the override `open`, the fallback gets new work and drains the vendor's mailbox.

    The override `auto` undoes this.
    """
    assert ask(service, "POST", "/v1/vendors/sms-a/override", {"state": "open", "why": "test"}).status == 200

    def drains(vendor: str) -> list[str]:
        found: list[str] = ask(service, "GET", f"/v1/vendors/{vendor}").body["drains"]
        return found

    try:
        wait_for(lambda: "sms-a" in drains("sms-b"), 5)
        assert drains("sms-a") == []
        wait_for(lambda: post(service, GOOD).body["notifications"][0]["vendor"] == "sms-b", 5)
    finally:
        ask(service, "POST", "/v1/vendors/sms-a/override", {"state": "auto"})
    wait_for(lambda: drains("sms-a") == ["sms-a"], 5)
    assert "sms-a" in ask(service, "GET", "/v1/plan").body["history"][0]["reason"]


def test_metrics_are_one_text_for_the_whole_service(service: Service) -> None:
    """One scrape has the counters of intake and vendor actors, and the gauges of Redis and the plan, without any
    address.
    """
    post(service, GOOD)
    names = ("dispatcher_accepts_total", "dispatcher_attempts_total", "dispatcher_accept_seconds_bucket")
    wait_for(lambda: all(name in ask(service, "GET", "/metrics").body for name in names), 10)
    text = ask(service, "GET", "/metrics").body
    for name in ("dispatcher_breaker_state", "dispatcher_mailbox_depth", "dispatcher_age_seconds_bucket"):
        assert name in text
    assert "example.com" not in text


def test_health_tells_how_it_really_runs(service: Service) -> None:
    """/healthz names the ingress and the niceness and has no warning. /readyz, /openapi.json and /docs answer."""
    health = ask(service, "GET", "/healthz").body
    assert (health["ingress"], health["niceness"], health["warnings"]) == ("haproxy", 0, [])
    assert ask(service, "GET", "/readyz").status == 200
    assert "/v1/triggers" in ask(service, "GET", "/openapi.json").body["paths"]
    assert ask(service, "GET", "/docs").status == 200


def test_a_dripping_header_is_cut_off(service: Service) -> None:
    """A client that sends one header line a second is answered or cut off within 8 seconds."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=1) as connection:
        connection.sendall(b"POST /v1/triggers HTTP/1.1\r\nHost: x\r\n")
        began = time.monotonic()
        while time.monotonic() - began < 12:
            try:
                connection.sendall(b"X-Drip: 1\r\n")
                connection.recv(1024)  # an answer, or the end of the connection
                break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - began < 8


def test_haproxy_listens_on_loopback_only(service: Service) -> None:
    """HAProxy's metrics and statistics ports, and the API, are bound to loopback."""
    assert service.haproxy_pids()
    ours = (p for p in Path(f"/tmp/nd-{service.state.marker[:8]}").rglob("h.cfg.*") if p.suffix[1:].isdigit())
    configurations = [p.read_text() for p in ours]
    assert configurations
    binds = [
        line.split()[1] for text in configurations for line in text.splitlines() if line.strip().startswith("bind")
    ]
    assert all(bind.startswith("127.0.0.1:") for bind in binds), binds


def test_the_core_of_ray_listens_on_loopback(service: Service) -> None:
    """Ray's core processes listen on loopback only, because the machine's address may change and nobody else needs
    these ports.
    """
    pids = [pid for pid, line in processes_of(service.state.marker).items() if line.split()[0].endswith(CORE_OF_RAY)]
    assert len(pids) == len(CORE_OF_RAY)
    sockets = {os.readlink(link) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    found = {row[1].split(":")[0] for row in rows if row[3] == LISTENS and f"socket:[{row[9]}]" in sockets}
    assert found and found <= LOOPBACK


def test_the_foreground_shows_only_our_sentences(service: Service) -> None:
    """The lines of Ray and Serve go to a log file of their own, and not to the foreground."""
    assert "-- Started Serve" not in service.log.read_text()
    assert "-- Started Serve" in (service.state.path / "logs" / LIBRARY_LOG).read_text()


def test_logs_hold_no_address(service: Service) -> None:
    """No log of the program, or in Ray's session directory, contains a recipient's mail address or phone number."""
    post(service, changed(recipient={"email": "canary-77@example.com", "phone": "+4915199977777"}))
    time.sleep(1)
    found = []
    for path in Path(f"/tmp/nd-{service.state.marker[:8]}").rglob("*"):
        if path.is_file() and path.suffix in (".log", ".err", ".out"):
            text = path.read_text(errors="replace")
            if "canary-77" in text or "15199977777" in text:
                found.append(path)
    assert found == []
