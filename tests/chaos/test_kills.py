"""Processes are killed under load.

Nothing acknowledged is lost, and only what was in flight or unsettled is repeated.

Steady state: 50 triggers/s (an SMS and an e-mail each), 50 ms vendors. Recovery budget: everything is delivered 40 s
after the last post. A repeat is allowed only for calls of the killed or frozen process that were in flight then, or
had ended within the settle interval (0.1 s) before (`cluster.rehearsal.drills.play.Run.unexplained`). Under `hold`
no repeat is allowed.
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
from pathlib import Path

import pytest

from cluster.local.service import Service
from cluster.rehearsal.drills.catalogue import EVERY
from cluster.rehearsal.drills.play import BUSY_S, CALL_S, SETTLE_S, Run
from cluster.rehearsal.drills.report import refusing_s
from tests.chaos.policies import policies
from tests.chaos.running import RATE, intake_servers, kill, under_load, wait_for

pytestmark = pytest.mark.chaos

IN_FLIGHT = RATE * (CALL_S + SETTLE_S + BUSY_S)
"""The most notifications of one channel that can be in flight or unsettled at the fault."""


def test_without_a_fault_everything_arrives_once(service: Service) -> None:
    """Every acknowledged notification reaches its vendor exactly once if there is no fault."""
    run = under_load(service, lambda: None, seconds=5)
    assert run.verdict.accepted == len(run.posted)
    assert run.verdict.clean, (run.verdict.lost, run.verdict.duplicated)


def test_an_intake_replica_killed_loses_and_repeats_nothing(service: Service) -> None:
    """One of two intake replicas is killed. Callers retry with the same key, and nothing is lost or repeated."""
    run = under_load(service, lambda: kill(service.pids("ServeReplica:intake")[:1]))
    assert run.verdict.accepted == len(run.posted)
    assert run.verdict.clean, (run.verdict.lost, run.verdict.duplicated)
    wait_for(lambda: len(service.pids("ServeReplica:intake")) == 2, 20)


def in_flight_at_most(run: Run, policy: str) -> None:
    """Assert that all triggers were accepted, nothing is lost, and no repeat is unexplained.

    Under `hold`, nothing may be repeated, and at most what was in flight may be held.
    """
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
    """A vendor actor is killed under load. Its successor takes its claims, and only messages that were in flight may be
    repeated.
    """
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
    """A vendor actor is frozen for 4 s under load. Other actors take its claims meanwhile, and nothing is lost.

    Only a message that was in flight may be repeated under `resend`, or held under `hold`.
    """
    pids = service.pids("ServeReplica:vendor-email-a")[:1]

    def freeze() -> None:
        kill(pids, signal.SIGSTOP)
        time.sleep(4)
        if pids[0] in service.pids("ServeReplica:vendor-email-a"):
            os.kill(pids[0], signal.SIGCONT)

    run = under_load(service, freeze, seconds=9, repeats=("email-a",), wakes=True, on_unknown=policy)
    in_flight_at_most(run, policy)


def test_the_supervisor_killed_stops_nobody(service: Service) -> None:
    """The supervisor is killed and replaced.

    Deliveries continue without a gap of a second, and no living actor is declared dead.
    """
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
    """HAProxy is killed.

    Its wrapper starts it again within a second. Serve's HAProxy manager is not restarted, and can still reload HAProxy.
    """
    managers = service.pids("ray::HAProxyManager")
    run = under_load(service, lambda: kill(service.haproxy_pids()))
    assert run.verdict.accepted == len(run.posted)
    assert run.verdict.clean, (run.verdict.lost, run.verdict.duplicated)
    assert refusing_s(run) < 1
    assert service.pids("ray::HAProxyManager") == managers

    wrappers = service.pids("haproxy_wrapper.py")
    kill(service.pids("ServeReplica:intake")[:1])  # Serve reloads HAProxy for fewer replicas, then for more
    wait_for(lambda: not set(wrappers) & set(service.pids("haproxy_wrapper.py")), 30)  # the earlier wrapper has drained
    assert service.pids("ray::HAProxyManager") == managers
    wait_for(lambda: len(service.pids("ServeReplica:intake")) == 2 and len(service.haproxy_pids()) == 1, 30)
    assert wait_for(lambda: _post(service, "reloaded")[0] == 202, 5) < 2
    niceness = {os.getpriority(os.PRIO_PROCESS, pid) for pid in service.haproxy_pids()}
    # A new replica has a lower priority until its code is loaded, and then the priority of intake.
    wait_for(
        lambda: niceness == {os.getpriority(os.PRIO_PROCESS, pid) for pid in service.pids("ServeReplica:intake")}, 10
    )


@pytest.mark.parametrize("word", ["haproxy_wrapper.py", "ray::HAProxyManager"])
def test_haproxys_keeper_killed_is_back_within_seconds(service: Service, word: str) -> None:
    """The wrapper of HAProxy, or Serve's HAProxy manager, is killed, and HAProxy ends with it.

    Serve starts all of them again within 10 s.
    """
    killed = service.haproxy_pids()
    run = under_load(service, lambda: kill(service.pids(word)), seconds=12)
    assert run.verdict.accepted == len(run.posted)
    assert run.verdict.clean, (run.verdict.lost, run.verdict.duplicated)
    assert refusing_s(run) < 10
    assert killed
    assert not set(killed) & set(service.haproxy_pids())


def test_after_the_controller_was_killed_haproxy_learns_of_new_replicas(service: Service) -> None:
    """Serve's controller is killed under load, and nothing is refused, lost or repeated.

    Afterwards both intake replicas are replaced, one after the other. HAProxy then knows their successors and none of
    the earlier replicas (ray issue 66039).
    """
    controller, replicas = service.pids("ray::ServeController"), service.pids("ServeReplica:intake")
    known = _known_to_haproxy(service)
    run = under_load(service, lambda: kill(controller))
    assert run.verdict.accepted == len(run.posted)
    assert run.verdict.clean, (run.verdict.lost, run.verdict.duplicated)
    wait_for(lambda: len(set(service.pids("ray::ServeController")) - set(controller)) == 1, 30)
    for pid in replicas:
        kill([pid])
        wait_for(lambda pid=pid: len(set(service.pids("ServeReplica:intake")) - {pid}) == 2, 40)  # type: ignore[misc]
    assert not set(replicas) & set(service.pids("ServeReplica:intake"))
    wait_for(lambda: len(_known_to_haproxy(service)) == 2 and not known & _known_to_haproxy(service), 30)
    assert _post(service, "successors")[0] == 202


def _known_to_haproxy(service: Service) -> set[str]:
    """Return the names of the intake replicas that the running HAProxy knows. While it is reloaded, return none."""
    pids = service.haproxy_pids()
    if len(pids) != 1:
        return set()
    try:
        words = Path(f"/proc/{pids[0]}/cmdline").read_text().split("\0")
    except OSError:  # it ended after the look
        return set()
    if "-f" not in words:  # it ends now: its command line is empty
        return set()
    return intake_servers(Path(words[words.index("-f") + 1]).read_text())


@policies
def test_redis_killed_is_started_again_with_its_data(service: Service, policy: str) -> None:
    """Redis is killed. `up` starts it again with its data, and nothing acknowledged is lost."""
    run = under_load(service, lambda: kill(service.redis_pids()), repeats=EVERY, on_unknown=policy)
    in_flight_at_most(run, policy)


def test_redis_stopped_answers_503_and_never_202(service: Service) -> None:
    """Redis is frozen. Each of four posts then gets a 503 with Retry-After, and the quickest of these answers comes
    within 1 s.

    After Redis has continued, posts are accepted within 5 s. Only the quickest answer is timed, because another process
    may delay some answers.
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
