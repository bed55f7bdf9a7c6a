"""A vendor fails under load and works again later.

Its breaker cuts it off within a second, and its fallback drains its mailbox.
"""

from __future__ import annotations

import time

import pytest

from cluster.local.service import Service
from cluster.rehearsal.demo import outage_of
from cluster.rehearsal.drills.play import perform
from tests.chaos.running import RATE, under_load, wait_for

pytestmark = pytest.mark.chaos


def test_a_failing_vendor_is_left_within_a_second_and_used_again(service: Service) -> None:
    """A vendor fails under 100 triggers a second. Its last call that is no probe begins at most 1 s after its first
    failure.

    Nothing is lost or repeated. When the vendor works again, it gets messages again.
    """
    try:
        run = under_load(service, lambda: service.fault("sms-a", mode="error"), seconds=7, rate=100)
    finally:
        healed_s = time.time()
        service.fault("sms-a", mode="none")
    outage = outage_of(service.received("sms-a")["call_log"], run.fault_s, healed_s)
    assert run.verdict.accepted == len(run.posted)
    assert run.verdict.clean, (run.verdict.lost, run.verdict.duplicated)
    assert outage.cut_off_s is not None
    assert outage.cut_off_s <= 1.0
    assert outage.probes <= 3 * 5, "an open breaker lets probes through and nothing else"
    _use_until_closed(service, "sms-a")


def test_the_fallback_takes_over_the_backlog(service: Service) -> None:
    """Both SMS vendors fail, and messages queue.

    When only the fallback recovers, the fallback delivers the messages of both mailboxes.
    """

    def fault() -> None:
        service.fault("sms-a", mode="error")
        service.fault("sms-b", mode="error")
        time.sleep(3.0)
        assert sum(v["queued"] for v in service.get("/v1/vendors")["vendors"] if v["channel"] == "sms") > 0
        service.fault("sms-b", mode="none")

    try:
        run = under_load(service, fault, seconds=8, drain_s=60)
        assert service.get("/v1/vendors/sms-a")["state"] != "closed"
    finally:
        service.fault("sms-a", mode="none")
        service.fault("sms-b", mode="none")
    # Judged while sms-a was still dead: whatever had been routed to it went out through sms-b.
    assert run.verdict.clean, (run.verdict.lost, run.verdict.duplicated)
    _use_until_closed(service, "sms-a")
    _use_until_closed(service, "sms-b")


def _use_until_closed(service: Service, vendor: str) -> None:
    """Post messages until the vendor's breaker is closed.

    The breaker probes the vendor with ordinary messages, so without messages it would never close.
    """
    for _ in range(40):
        perform(service, RATE, 1.0, lambda _: None)
        if service.get(f"/v1/vendors/{vendor}")["state"] == "closed":
            return
    wait_for(lambda: service.get(f"/v1/vendors/{vendor}")["state"] == "closed", 1)
