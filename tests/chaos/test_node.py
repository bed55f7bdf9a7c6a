"""Row 7 of docs/faults.md: a node of a Ray cluster is lost, with its raylet and all its workers at once.

Both nodes are on this machine, so these tests do not test addresses between machines. Steady state: 40 triggers/s, an
SMS each, to a vendor that answers after 0.4 s. So each of the vendor's two actors has about 8 calls in flight.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import yaml

from cluster.local.state_directory import processes_of
from cluster.rehearsal.load import Posted, post_steadily
from tests.chaos.bench.checker import examine, waiting
from tests.chaos.bench.foreign import ForeignCluster
from tests.chaos.bench.installation import CHANNELS, VENDORS, Sandbox, paid, settings
from tests.chaos.policies import policies
from tests.chaos.running import kill, wait_for
from tests.leftovers import short_folder

pytestmark = [pytest.mark.chaos, pytest.mark.long]

RATE = 40.0
CALL_S = 0.4
BUSY_S = 0.4
"""Additional seconds, for clocks that differ and a busy machine."""
UNSETTLED_S = CALL_S + 0.1 + BUSY_S
"""The most seconds between a delivery and its settle: a call, the settle interval, and `BUSY_S`."""

QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",  # a killed raylet refuses connections: dead after four refusals;
    "RAY_health_check_period_ms": "500",  # one that is merely slow has 20 s
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
}
SERVE_ON_THE_HEAD = (
    "import sys, ray; from ray import serve; ray.init(sys.argv[1]);"
    " serve.start(http_options={'host': '127.0.0.1', 'port': int(sys.argv[2])}, proxy_location='HeadOnly')"
)
"""Starts Serve with a proxy on the head only. The nodes share one address, so two proxies would need the same port."""


@pytest.fixture
def cluster() -> Iterator[ForeignCluster]:
    found = ForeignCluster(short_folder("ndn-"), variables=QUICK)
    try:
        found.start()
        yield found
    finally:
        found.close()
        shutil.rmtree(found.folder, ignore_errors=True)


@policies
def test_a_lost_node_loses_nothing_and_its_actors_move(cluster: ForeignCluster, sandbox: Sandbox, policy: str) -> None:
    """Row 7 of docs/faults.md: under load, one node of a Ray cluster is lost. Its raylet and all its workers are
    killed.

    The vendor actors of the other node take the claims of the killed actors. All replicas start again on the other
    node. Nothing is lost.
    """
    lost = cluster.add_node()
    deploy(cluster, sandbox)
    before = sorted(cluster.replicas().values())
    assert "vendor-sms-a" in cluster.replicas(lost).values(), "nothing to lose: Serve put no actor there"
    store = cluster.redis.client()
    span: list[float] = []
    claimed: dict[str, int] = {}

    def fault() -> None:
        time.sleep(3.0)
        span.append(time.time())
        kill(list(processes_of(lost)))  # one after the other
        span.append(time.time())
        for lane in (key for key in store.scan_iter(match="{nd:0}:mb:*", _type="stream") if ":of:" not in key):
            claimed.update({c["name"]: c["pending"] for c in store.xinfo_consumers(lane, "g") if c["pending"]})

    sandbox.reset()
    sandbox.fault("sms-a", "slow", latency_ms=int(CALL_S * 1000))
    posted = asyncio.run(load(cluster, 400, fault, policy))
    wait_for(lambda: waiting(store) == 0, 40)
    found = examine(posted, {v: sandbox.received(v)["received"] for v in VENDORS}, CHANNELS, store)
    assert found.verdict.accepted == len(posted)
    assert found.kept(policy, int(RATE * UNSETTLED_S)), found
    first, (began_s, ended_s) = found.verdict.delivered_at, span
    outside = {n: first[n] - began_s for n in found.duplicated}
    outside = {n: s for n, s in outside.items() if not -UNSETTLED_S <= s <= ended_s - began_s + CALL_S + BUSY_S}
    assert outside == {}, "repeated, and not in flight at the kill"
    actors = store.hgetall("{nd:0}:actors")
    died = [name for name in claimed if actors.get(name) != "live"]  # the store forgets an incarnation without claims
    assert died, "the dead had claimed nothing"
    wait_for(lambda: sorted(cluster.replicas().values()) == before, 40)
    assert cluster.replicas(lost) == {}


def deploy(cluster: ForeignCluster, sandbox: Sandbox) -> None:
    """Deploy two actors of `sms-a` and two intake replicas, which Serve spreads over the nodes. Wait until they run."""
    several = settings(sandbox.url, {})
    several["vendors"]["sms-a"]["replicas_min"] = 2
    config = cluster.folder / "config.yaml"
    config.write_text(yaml.safe_dump(several))
    served = cluster.python(SERVE_ON_THE_HEAD, f"127.0.0.1:{cluster.gcs}", str(cluster.port))
    assert served.returncode == 0, served.stdout + served.stderr
    done = cluster.dispatcher("deploy", "--config", str(config), "--port", str(cluster.port))
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for(lambda: ready(cluster), 30)


async def load(cluster: ForeignCluster, count: int, fault: Callable[[], None], policy: str) -> list[Posted]:
    breaking = asyncio.ensure_future(asyncio.to_thread(fault))
    posted = await post_steadily(f"http://127.0.0.1:{cluster.port}", paid(count, on_unknown=policy), RATE)
    await breaking
    return posted


def ready(cluster: ForeignCluster) -> bool:
    """Return True if intake answers and every vendor has all its actors."""
    try:
        body = json.loads(ask(cluster, "/v1/vendors"))
    except OSError:
        return False
    return sorted((v["name"], len(v["breaker"])) for v in body["vendors"]) == [("sms-a", 2), ("sms-b", 1)]


def ask(cluster: ForeignCluster, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.port}{path}", timeout=3) as answer:
        text: str = answer.read().decode()
        return text
