"""SIGKILL, each under load: nothing acknowledged is lost, and what is repeated was in flight or unsettled at the kill.

Steady state: 50 triggers/s (an SMS and an e-mail each), 50 ms vendors. Recovery budget: everything delivered 40 s after
the last post. A repeat is allowed only for the calls of whoever was killed or frozen, in flight then or finished within
the settle interval (0.1 s) before it (`cluster.rehearsal.drills.play.Run.unexplained`); under `hold` none is.
"""

from __future__ import annotations

import os
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from email.message import Message
from itertools import pairwise

import pytest

from cluster.local.service import Service
from cluster.rehearsal.drills.catalogue import EVERY
from cluster.rehearsal.drills.play import BUSY_S, CALL_S, SETTLE_S, Run
from cluster.rehearsal.drills.report import refusing_s
from tests.chaos.policies import policies
from tests.chaos.running import RATE, kill, under_load, wait_for

pytestmark = pytest.mark.chaos

IN_FLIGHT = RATE * (CALL_S + SETTLE_S + BUSY_S)
"""The most notifications of one channel in flight."""


def test_without_a_fault_everything_arrives_once(service: Service) -> None:
    """Every acknowledged notification reaches its vendor exactly once."""
    run = under_load(service, lambda: None, seconds=5)
    assert run.verdict.accepted == len(run.posted)
    assert run.verdict.clean, (run.verdict.lost, run.verdict.duplicated)


def test_an_intake_replica_killed_loses_and_repeats_nothing(service: Service) -> None:
    """One of two intake replicas dies: callers retry with the same key, nothing is lost or doubled."""
    run = under_load(service, lambda: kill(service.pids("ServeReplica:intake")[:1]))
    assert run.verdict.accepted == len(run.posted)
    assert run.verdict.clean, (run.verdict.lost, run.verdict.duplicated)
    wait_for(lambda: len(service.pids("ServeReplica:intake")) == 2, 20)


def in_flight_at_most(run: Run, policy: str) -> None:
    """All accepted, none lost; repeated is what `unexplained` allows, and nothing under `hold`, which may hold that."""
    assert run.verdict.accepted == len(run.posted)
    assert run.verdict.lost == []
    assert run.unexplained() == []
    if policy == "hold":
        assert run.verdict.duplicated == {}
        assert run.verdict.delivered + len(run.held) == run.verdict.expected
        held = Counter(name.rpartition("/")[2] for name in run.held)
        assert max(held.values(), default=0) <= IN_FLIGHT


@policies
def test_a_vendor_actor_killed_loses_nothing(service: Service, policy: str) -> None:
    """A vendor actor dies: its claims are taken by its successor; only what it had in flight may repeat."""
    run = under_load(
        service,
        lambda: kill(service.pids("ServeReplica:vendor-sms-a")[:1]),
        repeats=("sms-a",),
        on_unknown=policy,
    )
    in_flight_at_most(run, policy)
    wait_for(lambda: len(service.pids("ServeReplica:vendor-sms-a")) == 1, 20)


@policies
def test_a_frozen_vendor_actor_loses_nothing(service: Service, policy: str) -> None:
    """A vendor actor freezes and wakes: others took its claims, and its late outcomes are refused."""
    pids = service.pids("ServeReplica:vendor-email-a")[:1]

    def freeze() -> None:
        kill(pids, signal.SIGSTOP)
        time.sleep(4)
        if pids[0] in service.pids("ServeReplica:vendor-email-a"):
            os.kill(pids[0], signal.SIGCONT)

    run = under_load(service, freeze, seconds=9, repeats=("email-a",), wakes=True, on_unknown=policy)
    in_flight_at_most(run, policy)


def test_the_supervisor_killed_stops_nobody(service: Service) -> None:
    """The supervisor dies and returns: deliveries go on without a gap, and it condemns nobody."""
    epoch = service.get("/v1/plan")["plan"]["epoch"]
    before = {b["incarnation"] for v in service.get("/v1/vendors")["vendors"] for b in v["breaker"]}
    run = under_load(service, lambda: kill(service.pids("ServeReplica:supervisor")))
    assert run.verdict.clean, (run.verdict.lost, run.verdict.duplicated)
    times = sorted(run.verdict.delivered_at.values())
    assert max(b - a for a, b in pairwise(times)) < 1.0
    wait_for(lambda: len(service.pids("ServeReplica:supervisor")) == 1, 20)
    after = {b["incarnation"] for v in service.get("/v1/vendors")["vendors"] for b in v["breaker"]}
    assert after <= before, "living actors were declared dead"
    assert service.get("/v1/plan")["plan"]["epoch"] >= epoch


def test_haproxy_killed_is_back_at_once_and_still_reloads(service: Service) -> None:
    """haproxy dies: its wrapper starts it again within a second, Serve's manager notices nothing and can reload it."""
    managers = service.pids("ray::HAProxyManager")
    run = under_load(service, lambda: kill(service.haproxy_pids()))
    assert run.verdict.accepted == len(run.posted)
    assert run.verdict.clean, (run.verdict.lost, run.verdict.duplicated)
    assert refusing_s(run) < 1
    assert service.pids("ray::HAProxyManager") == managers

    wrappers = service.pids("haproxy_wrapper.py")
    kill(service.pids("ServeReplica:intake")[:1])  # Serve reloads haproxy with one replica less, then one more
    wait_for(lambda: not set(wrappers) & set(service.pids("haproxy_wrapper.py")), 30)  # the one before has drained
    assert service.pids("ray::HAProxyManager") == managers
    wait_for(lambda: len(service.pids("ServeReplica:intake")) == 2 and len(service.haproxy_pids()) == 1, 30)
    assert wait_for(lambda: _post(service, "reloaded")[0] == 202, 5) < 2
    niceness = {os.getpriority(os.PRIO_PROCESS, pid) for pid in service.haproxy_pids()}
    # A new replica gives way until its code is read, and then has the rank of accepting.
    wait_for(
        lambda: niceness == {os.getpriority(os.PRIO_PROCESS, pid) for pid in service.pids("ServeReplica:intake")}, 10
    )


@pytest.mark.parametrize("word", ["haproxy_wrapper.py", "ray::HAProxyManager"])
def test_haproxys_keeper_killed_is_back_within_seconds(service: Service, word: str) -> None:
    """haproxy dies with its wrapper, and with Serve's manager; Serve starts all three again."""
    killed = service.haproxy_pids()
    run = under_load(service, lambda: kill(service.pids(word)), seconds=12)
    assert run.verdict.accepted == len(run.posted)
    assert run.verdict.clean, (run.verdict.lost, run.verdict.duplicated)
    assert refusing_s(run) < 10
    assert killed
    assert not set(killed) & set(service.haproxy_pids())


@policies
def test_redis_killed_is_started_again_with_its_data(service: Service, policy: str) -> None:
    """Redis dies: `up` starts it again, what was acknowledged is there, nothing is lost."""
    run = under_load(service, lambda: kill(service.redis_pids()), repeats=EVERY, on_unknown=policy)
    in_flight_at_most(run, policy)


def test_redis_stopped_answers_503_and_never_202(service: Service) -> None:
    """While Redis does not answer: 503 with Retry-After, the quickest of four within 1 s; back: accepting within 5 s.

    A neighbour on the machine may delay one answer, and must not delay all.
    """
    pids = service.redis_pids()
    kill(pids, signal.SIGSTOP)
    took: list[float] = []
    try:
        time.sleep(0.2)
        for n in range(4):
            began = time.monotonic()
            status, headers = _post(service, f"stopped-{n}")
            assert status == 503
            assert headers["retry-after"]
            took.append(time.monotonic() - began)
    finally:
        kill(pids, signal.SIGCONT)
    assert min(took) < 1.0, took
    wait_for(lambda: _post(service, "back")[0] == 202, 5)


def _post(service: Service, key: str) -> tuple[int, dict[str, str]]:
    body = (
        b'{"event":"checkout.completed","recipient":{"email":"a@example.com","phone":"+4915112345678"},'
        b'"data":{"order":"x","name":"x","total":"1","currency":"EUR"}}'
    )
    request = urllib.request.Request(
        f"{service.api}/v1/triggers", body, {"Content-Type": "application/json", "Idempotency-Key": key}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, _lower(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, _lower(error.headers)


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
