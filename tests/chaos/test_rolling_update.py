"""Row 31 of docs/faults.md: the configuration of a vendor is changed while it sends.

Steady state: 60 triggers/s are posted, each with an SMS and an e-mail. `sms-a` has two actors, and its calls last 0.3
s, so each actor has about nine calls in flight. Intake replicas read the whole file, so a change replaces them as well.
Recovery budget: the actors of `sms-a` and the intake replicas are replaced within a minute. No repeat is allowed,
because nothing is killed.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from importlib import resources

import pytest
import yaml

from cluster.local.service import Service
from cluster.rehearsal.drills.play import fresh_checkouts, judged
from cluster.rehearsal.load import Posted, post_steadily
from tests.chaos.running import wait_for
from tests.leftovers import short_folder

pytestmark = [pytest.mark.chaos, pytest.mark.long]

RATE, STEADY_S = 60, 3.0
CHANGED, CALL_S = "sms-a", 0.3
REPLACED_S_MAX, SECONDS_MAX = 60.0, 130


@pytest.fixture
def own() -> Iterator[Service]:
    """Yield an installation whose configuration file may be changed."""
    folder = short_folder("ndu-")
    found = Service(folder / "state", folder / "config.yaml")
    write(found, timeout_s=10.0)
    try:
        found.start()
        yield found
        found.stop()
    finally:
        found.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_changed_vendor_is_replaced_under_load_and_nothing_is_lost_or_repeated(own: Service) -> None:
    """SIGHUP with another time-out replaces every actor of this vendor and no other.

    Each post is accepted, and nothing is lost or repeated.
    """
    own.fault(CHANGED, mode="none", latency_ms=CALL_S * 1000)
    wait_for(lambda: len(incarnations(own, CHANGED)) == 2, 30)
    before, others, intake = incarnations(own, CHANGED), incarnations(own), set(own.pids("ServeReplica:intake"))

    def update() -> None:
        time.sleep(STEADY_S)
        write(own, timeout_s=9.0)
        own.reload()
        wait_for(lambda: len(now := incarnations(own, CHANGED)) == 2 and not now & before, REPLACED_S_MAX)
        wait_for(lambda: not intake & set(own.pids("ServeReplica:intake")), REPLACED_S_MAX)

    posted = asyncio.run(load(own, update))
    wait_for(lambda: all(v["queued"] == 0 for v in own.get("/v1/vendors")["vendors"]), 60)  # nothing is left to send
    verdict = judged(own, posted)
    assert [p.key for p in posted if p.first_status != 202] == []
    assert (verdict.lost, verdict.duplicated, verdict.unexpected) == ([], {}, [])
    assert incarnations(own) == others


async def load(service: Service, update: Callable[[], None]) -> list[Posted]:
    """Post `RATE` triggers a second until `update` has returned. Return what was posted."""
    updating = asyncio.ensure_future(asyncio.to_thread(update))
    bodies, posted = fresh_checkouts(RATE * SECONDS_MAX), list[Posted]()
    while not updating.done() and len(posted) < len(bodies):
        posted += await post_steadily(service.api, bodies[len(posted) : len(posted) + RATE], RATE)
    await updating
    return posted


def write(service: Service, timeout_s: float) -> None:
    """Write the sandbox's configuration to the service's file, but with two actors for `sms-a` and the time-out
    `timeout_s`.
    """
    found = yaml.safe_load((resources.files("cluster") / "sandbox.yaml").read_text())
    found["vendors"][CHANGED] |= {"replicas_min": 2, "replicas_max": 2, "timeout_s": timeout_s}
    service.config.write_text(yaml.safe_dump(found))


def incarnations(service: Service, *names: str) -> set[str]:
    """Return the incarnations of the actors of the vendors in `names`.

    Without `names`, return those of all vendors, except for the vendor `CHANGED`, whose configuration the test changes.
    """
    return {
        breaker["incarnation"]
        for vendor in service.get("/v1/vendors")["vendors"]
        for breaker in vendor["breaker"]
        if vendor["name"] in (names or {vendor["name"]} - {CHANGED})
    }
