"""Rows 1, 3 to 6, 9, 32, 33 and 36 of docs/faults.md: real processes are killed, frozen and stopped, without Ray.

Steady state: 60 triggers/s with one SMS each, and vendors that answer after 50 ms. A message may be repeated only if it
was in flight at a kill, or its call ended within the settle interval (0.1 s) before the kill.
"""

from __future__ import annotations

import signal

import pytest

from tests.chaos.bench.installation import VENDORS, Bench, MakeBench, paid
from tests.chaos.policies import policies

pytestmark = pytest.mark.chaos

RATE = 60.0
IN_FLIGHT = round(RATE * (0.05 + 0.1 + 0.35))
"""The most messages in flight or unsettled: those of a 50 ms call, the settle interval, and a busy machine's 350 ms."""


def test_a_bench_without_a_fault_delivers_once(bench: Bench) -> None:
    """Without a fault, each acknowledged notification reaches one vendor once, and no process dies."""
    found = bench.judge(bench.post(paid(60), RATE))
    assert found.all_well(), found
    assert found.states == {"settled": 60}
    assert bench.deaths == 0


@policies
def test_a_killed_vendor_actor_loses_nothing(bench: Bench, policy: str) -> None:
    """Fault row 3 (docs/faults.md): a vendor actor is killed during its calls.

    The next actor of the vendor takes the killed actor's claims. Only messages that were in flight are repeated (under
    `resend`) or held (under `hold`).
    """
    posted = bench.post(paid(180, on_unknown=policy), RATE, (1.0, bench.workers["sms-a"].kill))
    found = bench.judge(posted)
    assert found.verdict.accepted == 180
    assert found.kept(policy, IN_FLIGHT), found
    assert bench.deaths == 1


@pytest.mark.parametrize(("at", "repeats"), [("before_send", 0), ("after_send", 1)])
@pytest.mark.long
def test_where_an_actor_dies_decides_what_repeats(make_bench: MakeBench, at: str, repeats: int) -> None:
    """Rows 3 and 36 of docs/faults.md: an actor dies at a chosen place in the handling of a message.

    If the actor dies before the call, no message is repeated. If it dies after the vendor has accepted and before the
    settle, exactly this message is repeated.
    """
    bench = make_bench().start(crashes={"sms-a": {"at": at, "nth": 3}})
    found = bench.judge([post for body in paid(5) for post in bench.post([body], RATE)])
    assert (found.lost, found.contradictions) == ([], [])
    assert found.verdict.repeats == repeats
    assert found.states == {"settled": 5}
    assert bench.deaths == 1


def test_an_actor_dead_after_the_send_under_hold_repeats_nothing(make_bench: MakeBench) -> None:
    """Row 36 of docs/faults.md, under `hold`: an actor dies just after it has sent a message.

    The message is held. A look-up finds it at the vendor, so it is settled. No message is repeated.
    """
    bench = make_bench().start(crashes={"sms-a": {"at": "after_send", "nth": 3}})
    posted = []
    for n, body in enumerate(paid(5, on_unknown="hold"), 1):
        posted += bench.post([body], RATE)
        # One message at a time. If another had its start mark but was not sent, it would be held and never found.
        bench.until(lambda n=n: sum(len(bench.sandbox.received(v)["received"]) for v in VENDORS) == n, 15)  # type: ignore[misc]
        bench.until(lambda n=n: bench.deaths == int(n >= 3), 15)  # type: ignore[misc]
    bench.until(lambda: bench.judge(posted, settled=False).states == {"settled": 5}, 15)
    found = bench.judge(posted)
    assert found.all_well(), found
    assert bench.deaths == 1


def test_an_intake_dead_before_its_answer_accepts_once(make_bench: MakeBench) -> None:
    """Row 1 of docs/faults.md: intake dies after it stored a trigger and before its 202.

    The client repeats with the same key and gets that one trigger.
    """
    bench = make_bench().start(crashes={"intake": {"at": "after_accept", "nth": 5}})
    posted = bench.post(paid(90), RATE)
    found = bench.judge(posted)
    assert bench.deaths == 1
    assert any(p.tries > 1 for p in posted), "nobody's answer was lost"
    assert found.verdict.accepted == 90
    assert found.all_well(), found


@policies
def test_a_frozen_actor_that_wakes_after_its_verdict_settles_nothing(bench: Bench, policy: str) -> None:
    """Fault row 6 (docs/faults.md): a frozen actor is declared dead, and other actors take its claims.

    When the frozen actor continues, the store refuses its late outcomes.
    """
    actor = bench.workers["sms-a"]
    before = {name for name, state in bench.actors().items() if state == "live"}
    posted = bench.post(paid(360, on_unknown=policy), RATE, (1.0, actor.freeze), (5.0, actor.wake))
    found = bench.judge(posted)
    assert found.verdict.accepted == 360
    assert found.kept(policy, IN_FLIGHT), found
    assert len([name for name in before if bench.actors().get(name, "dead") != "live"]) == 1
    assert bench.deaths == 0


def test_two_supervisors_are_one_in_office(make_bench: MakeBench) -> None:
    """Rows 5 and 6 of docs/faults.md: the supervisor's process is frozen, and a second supervisor begins to publish the
    plans.

    When the first process continues, the store refuses its plans, and the first process ends.
    """
    bench = make_bench().start(keep=False)
    first = bench.workers["supervisor"]

    def replace() -> None:
        first.freeze()
        bench.begin("supervisor")

    posted = bench.post(paid(240), RATE, (0.5, replace), (2.0, first.wake))
    bench.sandbox.fault("sms-a", "error")  # so there is a decision, which only the one in office can publish
    posted += bench.post(paid(60), RATE)
    bench.until(lambda: bench.plan()["sms-a"]["state"] != "closed", 5)
    bench.until(lambda: not first.alive(), 10)
    assert bench.workers["supervisor"].alive()
    assert bench.judge(posted).all_well()


@pytest.mark.long
def test_a_killed_supervisor_stops_nobody(bench: Bench) -> None:
    """Row 5 of docs/faults.md: the supervisor is killed. Deliveries continue, and the next supervisor declares no
    living actor dead.
    """
    live = {name for name, state in bench.actors().items() if state == "live"}
    posted = bench.post(paid(240), RATE, (1.0, bench.workers["supervisor"].kill))
    found = bench.judge(posted)
    assert found.all_well(), found
    assert max(found.verdict.delivery_s) < 1.0
    assert {name for name, state in bench.actors().items() if state == "live"} == live


@pytest.mark.long
def test_a_restarted_actor_of_a_cut_off_vendor_does_not_call_it_at_once(bench: Bench) -> None:
    """Row 4 of docs/faults.md: the actor of a cut-off vendor is killed three times.

    Its breaker's state is restored, so that the vendor gets only probes.
    """
    bench.sandbox.fault("sms-a", "error")
    posted = bench.post(paid(60), RATE)
    bench.until(lambda: bench.plan()["sms-a"]["state"] == "open", 5)
    before = bench.sandbox.received("sms-a")["calls"]

    def kill() -> None:
        bench.workers["sms-a"].kill()

    posted += bench.post(paid(180), RATE, (0.2, kill), (1.0, kill), (1.8, kill))
    calls = bench.sandbox.received("sms-a")["calls"] - before
    bench.sandbox.fault("sms-a")
    assert bench.judge(posted).lost == []
    assert bench.deaths == 3
    assert calls <= 3 * 5 * 2, "three starts, each at most a round of probes, and those of the waits between"


@policies
@pytest.mark.long
def test_everything_killed_at_once_loses_nothing(bench: Bench, policy: str) -> None:
    """Fault row 9 (docs/faults.md): every process and Redis are killed at once.

    After the restart everything is delivered. A trigger that is posted again gets the answer of the first post.
    """

    def kill() -> None:
        for worker in list(bench.workers.values()):
            worker.kill()
        bench.restart_redis()

    posted = bench.post(paid(180, on_unknown=policy), RATE, (1.0, kill))
    found = bench.judge(posted)
    assert found.verdict.accepted == 180
    assert found.kept(policy, IN_FLIGHT), found
    assert bench.deaths == 4


def test_a_stopped_actor_leaves_nothing_to_repeat(bench: Bench) -> None:
    """Row 32 of docs/faults.md: an actor gets SIGTERM under load. The actor settles its open calls and reports its
    stop.

    So nothing is repeated, and no actor is declared dead.
    """
    actor = bench.workers["sms-a"]
    before = {name for name in bench.actors() if name.startswith("sms-a/")}

    def said_goodbye() -> bool:
        """Return True if the store lists the stopped actors as stopped, or has no entry of them any more.

        The supervisor soon removes the entries of stopped actors. If it had declared an actor dead instead, its log
        would say so.
        """
        return {bench.actors().get(name, "stopped") for name in before} == {"stopped"}

    posted = bench.post(
        paid(180),
        RATE,
        (1.0, lambda: actor.kill(signal.SIGTERM)),
        (1.0, lambda: bench.until(lambda: not actor.alive(), 5)),
        (1.0, lambda: bench.until(said_goodbye, 1)),
    )
    found = bench.judge(posted)
    assert found.all_well(), found
    assert len(before) == 1
    assert "incarnation_declared_dead" not in bench.logs()


@pytest.mark.long
def test_poison_ends_and_its_neighbours_are_delivered(make_bench: MakeBench) -> None:
    """Row 33 of docs/faults.md: a message that kills every actor that sends it becomes a dead letter.

    All other messages are delivered.
    """
    bodies = paid(20)
    poison = bodies[10][0]
    where = {"at": "before_send", "text": poison}
    bench = make_bench().start(crashes={"sms-a": where, "sms-b": where})
    found = bench.judge(bench.post(bodies, RATE), drain_s=40)
    assert (found.lost, found.contradictions) == ([], [])
    assert found.states == {"settled": 19, "dead": 1}
    assert found.reasons == {"poison": 1}
    assert found.verdict.lost == [f"{poison}/sms"]
    assert 2 <= bench.deaths <= 4
