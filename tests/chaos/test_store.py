"""Rows 10, 13, 14, 16, 18 and 30 of docs/faults.md, and more faults of the store: Redis is killed, stopped, full or
emptied.

Steady state: 60 triggers/s are posted, each with one SMS, and a call to a vendor takes 50 ms.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess

import pytest

from dispatcher.adapters.redis.keys import Keys
from tests.chaos.bench.installation import VENDORS, Bench, MakeBench, paid
from tests.chaos.policies import policies
from tests.skew import SKEW

pytestmark = pytest.mark.chaos

RATE = 60.0
IN_FLIGHT = 30

without_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")


@policies
@pytest.mark.parametrize("seconds", [0.2, pytest.param(5.0, marks=pytest.mark.long)])
def test_redis_killed_comes_back_with_everything(bench: Bench, seconds: float, policy: str) -> None:
    """Fault row 10 (docs/faults.md): Redis is killed and started again. Meanwhile callers get a 503.

    Afterwards all actors continue, and none is declared dead.
    """
    bodies = paid(int(RATE * (seconds + 3)), on_unknown=policy)
    posted = bench.post(bodies, RATE, (1.0, lambda: bench.restart_redis(seconds)))
    found = bench.judge(posted)
    assert found.verdict.accepted == len(posted)
    assert found.kept(policy, IN_FLIGHT), found
    assert "dead" not in bench.actors().values()
    assert bench.deaths == 0
    assert {p.first_status for p in posted} <= {202, 503}


@pytest.mark.long
def test_redis_away_for_a_minute_comes_back_with_everything(bench: Bench) -> None:
    """Row 10 of docs/faults.md: Redis is away for 60 s.

    Intake refuses triggers, no actor dies or is declared dead, and everything acknowledged arrives. A caller repeats
    its trigger for up to 60 s. So only callers of the first four seconds give up, and intake has answered none of them
    with 202.
    """
    posted = bench.post(paid(330), 5.0, (1.0, lambda: bench.restart_redis(60.0)))
    found = bench.judge(posted)
    given_up = [p for p in posted if p.accepted_s is None]
    assert all(p.due_s < posted[0].due_s + 4.0 and p.status == 503 for p in given_up), given_up
    assert (found.lost, found.contradictions) == ([], [])
    assert found.verdict.repeats <= IN_FLIGHT
    assert "dead" not in bench.actors().values()
    assert bench.deaths == 0
    assert {p.first_status for p in posted} <= {0, 202, 503}, "0: a busy machine took longer than a caller waits"
    assert any(p.first_status == 503 for p in posted)


@policies
@pytest.mark.long
def test_a_stall_of_redis_takes_nothing_from_the_living(bench: Bench, policy: str) -> None:
    """Row 16 of docs/faults.md: Redis is frozen for four seconds under load. Callers get a 503 meanwhile.

    Afterwards no actor has been declared dead, and nothing is repeated.
    """
    pid = bench.redis_pid()
    posted = bench.post(
        paid(420, on_unknown=policy),
        RATE,
        (1.0, lambda: os.kill(pid, signal.SIGSTOP)),
        (5.0, lambda: os.kill(pid, signal.SIGCONT)),
    )
    found = bench.judge(posted)
    assert found.verdict.accepted == 420
    assert found.kept(policy, IN_FLIGHT, repeats=0), found
    assert "dead" not in bench.actors().values()
    assert any(p.first_status == 503 for p in posted)


@pytest.mark.long
def test_a_full_redis_refuses_and_still_drains(bench: Bench) -> None:
    """Row 14 of docs/faults.md: Redis is full. New triggers get a 503, and queued messages are still delivered.

    When there is room again, triggers are accepted.
    """
    store = bench.store()
    bench.sandbox.fault("sms-a", "error")
    bench.sandbox.fault("sms-b", "error")
    queued = bench.post(paid(60), RATE)
    used = store.info("memory")["used_memory"]
    bench.until(lambda: store.config_set("maxmemory", used // 2) and bench.ask("/readyz")[0] == 503, 5)
    refused = bench.post(paid(1), 1.0, (2.0, lambda: store.config_set("maxmemory", 1 << 28)))
    assert refused[0].first_status == 503
    assert refused[0].accepted_s is not None
    store.config_set("maxmemory", used // 2)
    bench.sandbox.fault("sms-a")
    bench.sandbox.fault("sms-b")
    found = bench.judge(queued + refused)
    assert found.states == {"settled": 61}
    assert (found.lost, found.contradictions) == ([], [])


@pytest.mark.long
def test_new_work_is_refused_before_redis_is_full(make_bench: MakeBench) -> None:
    """Fault row 14 (docs/faults.md): from 80 % of maxmemory on, triggers are refused and not stored. Below 80 % they
    are accepted.
    """
    bench = make_bench().start()
    store = bench.store()
    used = store.info("memory")["used_memory"]
    store.config_set("maxmemory", int(used / 0.85))
    bench.until(lambda: bench.ask("/readyz")[0] == 503, 5)
    records = Keys().record_prefix + "*"
    stored: list[int] = []

    def room() -> None:
        stored.append(len(list(store.scan_iter(match=records))))
        store.config_set("maxmemory", 1 << 28)

    posted = bench.post(paid(1), 1.0, (2.0, room))
    assert posted[0].first_status == 503
    assert stored == [0], "what was refused was stored"
    assert bench.judge(posted).all_well()


@policies
@pytest.mark.long
def test_a_disk_error_ends_redis_and_no_202_with_it(bench: Bench, policy: str) -> None:
    """Row 13 of docs/faults.md: the append-only file cannot grow. Redis ends and acknowledges nothing more.

    After Redis is started again, nothing acknowledged is lost.
    """
    pid = bench.redis_pid()

    def fill() -> None:
        most = bench.append_only_file().stat().st_size + 500
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))

    def again() -> None:
        bench.until(lambda: not bench.server.alive(), 5)
        bench.server.start()

    posted = bench.post(paid(300, on_unknown=policy), RATE, (1.0, fill), (1.0, again))
    found = bench.judge(posted)
    assert found.verdict.accepted == 300
    assert found.kept(policy, IN_FLIGHT), found
    assert bench.redis_pid() != pid


def inject(pid: int, fault: str) -> subprocess.Popen[bytes]:
    """Start an strace that makes each fdatasync of `pid` fail or wait, as `fault` says.

    The fault ends with the strace.
    """
    words = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=fdatasync", "-e", f"inject=fdatasync:{fault}"]
    return subprocess.Popen([*words, "-p", str(pid)], stdin=subprocess.DEVNULL)


@policies
@without_strace
@pytest.mark.long
def test_a_sync_that_fails_ends_redis_and_no_202_with_it(bench: Bench, policy: str) -> None:
    """Row 13 of docs/faults.md: the disk answers a sync with EIO. Redis ends and acknowledges nothing more.

    After a restart nothing acknowledged is lost.
    """
    pid, store = bench.redis_pid(), bench.store()
    strace: list[subprocess.Popen[bytes]] = []

    def again() -> None:
        bench.until(lambda: not bench.server.alive(), 5)
        bench.server.start()

    bodies = paid(300, on_unknown=policy)
    posted = bench.post(bodies, RATE, (1.0, lambda: strace.append(inject(pid, "error=EIO"))), (1.0, again))
    strace[0].wait(5)
    found = bench.judge(posted)
    assert found.verdict.accepted == 300
    assert found.kept(policy, IN_FLIGHT), found
    assert store.info("server")["process_id"] != pid
    assert "fsync" in (bench.folder / "redis" / "redis.log").read_text()


@policies
@without_strace
@pytest.mark.long
def test_syncs_that_take_long_cost_nobody_his_claims(bench: Bench, policy: str) -> None:
    """Fault row 16 (docs/faults.md): for 3 s, each fsync of Redis takes 200 ms longer. Accepts are slower or get a 503.

    No actor is declared dead, and no message is repeated.
    """
    pid = bench.redis_pid()
    strace: list[subprocess.Popen[bytes]] = []
    posted = bench.post(
        paid(300, on_unknown=policy),
        RATE,
        (1.0, lambda: strace.append(inject(pid, "delay_enter=200000"))),
        (4.0, lambda: strace[0].terminate()),
    )
    strace[0].wait(5)
    found = bench.judge(posted)
    assert found.verdict.accepted == 300
    assert found.kept(policy, IN_FLIGHT, repeats=0), found
    assert "dead" not in bench.actors().values()
    slow = [p for p in posted if (p.accept_ms or 0) >= 200]
    assert slow, "nothing was slower: the delay did not take"


# ---- what it holds


@policies
def test_a_destroyed_group_is_made_again(bench: Bench, policy: str) -> None:
    """XGROUP DESTROY removes the consumer groups of the mailboxes, twice under load. The actors make the groups again,
    so that they begin at the first entry of the mailbox.

    So nothing is lost. Messages that were claimed at that time may be repeated, or under `hold` held.
    """
    store = bench.store()

    def destroy() -> None:
        for vendor in ("sms-a", "sms-b"):
            store.xgroup_destroy(f"{{nd:0}}:mb:{vendor}:normal", "g")

    posted = bench.post(paid(180, on_unknown=policy), RATE, (1.0, destroy), (2.0, destroy))
    found = bench.judge(posted)
    assert found.verdict.accepted == 180
    assert found.kept(policy, 2 * IN_FLIGHT), found
    assert bench.deaths == 0


@pytest.mark.long
def test_a_deleted_mailbox_costs_what_it_held_and_no_more(bench: Bench) -> None:
    """A mailbox is deleted from Redis under load. Only the notifications that waited in it are lost.

    The actor of that mailbox does not die, and delivers what is accepted later.
    """
    store = bench.store()
    first = bench.post(paid(60), RATE, (0.5, lambda: store.delete("{nd:0}:mb:sms-a:normal")))
    after = bench.post(paid(60), RATE)
    found = bench.judge(after, settled=False)
    bench.until(lambda: not bench.judge(after, settled=False).lost, 10)
    assert found.verdict.accepted == 60
    assert len(bench.judge(first, settled=False).lost) <= IN_FLIGHT
    assert bench.deaths == 0


@pytest.mark.long
def test_broken_records_cost_nobody_else_anything(make_bench: MakeBench) -> None:
    """Row 31c of docs/faults.md: many messages wait for a retry, and the records of two are broken.

    The record of one message has an unreadable time, and the key of another holds a text instead of a record. All other
    messages are delivered once. The two messages are delivered once too when their records are mended.
    """
    bench = make_bench().start()
    store = bench.store()
    for vendor in VENDORS:
        bench.sandbox.fault(vendor, "throttle", retry_after_s=3)

    def spoil() -> None:
        bench.until(lambda: store.zcard("{nd:0}:due") >= 10, 5)
        for vendor in VENDORS:
            bench.sandbox.fault(vendor)
        one, two = (f"{{nd:0}}:t:{nid.rpartition('.')[0]}" for nid in store.zrange("{nd:0}:due", 0, 1))
        store.hset(one, "x", "tomorrow")
        store.rename(two, f"aside {two}")
        store.set(two, "what nobody wrote")
        spoilt.extend((one, two))

    spoilt: list[str] = []
    posted = bench.post(paid(60), RATE, (0.5, spoil))
    bench.until(lambda: store.zcard("{nd:0}:due") == 2, 20)
    later = bench.post(paid(60), RATE)
    bench.until(lambda: sum(len(bench.sandbox.received(vendor)["received"]) for vendor in VENDORS) == 118, 10)
    assert bench.metric("dispatcher_unreadable_total") >= 2
    one, two = spoilt
    store.hset(one, "x", store.time()[0] * 1000 + 600_000)
    store.rename(f"aside {two}", two)
    found = bench.judge(posted + later, drain_s=40.0)
    assert found.states == {"settled": 120}
    assert found.all_well(), found
    assert bench.deaths == 0


@policies
@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.long
def test_a_clock_that_jumps_takes_nothing_from_the_living(make_bench: MakeBench, hours: int, policy: str) -> None:
    """Fault row 30 (docs/faults.md): the store's clock jumps by an hour.

    No actor is declared dead, no message is repeated, and idempotency keys still work.
    """
    bench = make_bench().start(skewed=True)
    store = bench.store()
    bodies = paid(180, on_unknown=policy)
    posted = bench.post(bodies, RATE, (1.0, lambda: store.set(SKEW, hours * 3600)))
    found = bench.judge(posted)
    assert found.verdict.accepted == 180
    assert found.kept(policy, 0), found
    assert "dead" not in bench.actors().values()
    again = bench.post(bodies[:30], RATE)
    assert [p.trigger_id for p in again] == [p.trigger_id for p in posted[:30]]
    assert bench.judge(posted).all_well()


@pytest.mark.parametrize("meanwhile", ["all live", pytest.param("all restarted", marks=pytest.mark.long)])
def test_a_clock_set_back_does_not_hold_up_what_waits(make_bench: MakeBench, meanwhile: str) -> None:
    """Row 30b of docs/faults.md: the store's clock is set back by an hour while 60 messages wait for their retry.

    In one case the actors run on while the clock jumps. In the other case all are stopped before the jump and started
    after it. In both cases all messages are delivered soon.
    """
    bench = make_bench().start(skewed=True, keep=False)
    store = bench.store()
    for vendor in ("sms-a", "sms-b"):
        bench.sandbox.fault(vendor, "throttle", retry_after_s=2)

    def jump() -> None:
        bench.until(lambda: store.zcard("{nd:0}:due") > 0, 5)
        if meanwhile == "all restarted":
            for worker in bench.workers.values():
                worker.kill()
            bench.until(lambda: not any(worker.alive() for worker in bench.workers.values()), 5)
        store.set(SKEW, -3600)
        if meanwhile == "all restarted":
            bench.start(skewed=True, keep=False)
        bench.sandbox.fault("sms-a")
        bench.sandbox.fault("sms-b")

    posted = bench.post(paid(60), RATE, (1.5, jump))
    found = bench.judge(posted, drain_s=20.0)
    assert found.states == {"settled": 60}
    assert found.all_well(), found
    assert meanwhile == "all restarted" or "store_clock_set_back" in bench.logs()


@pytest.mark.parametrize("fault", ["an older copy", "emptied"])
def test_a_store_that_lost_what_it_accepted_is_told(make_bench: MakeBench, fault: str) -> None:
    """Row 18 of docs/faults.md: Redis is emptied, or is replaced by a copy that is a second old. So accepted triggers
    are lost.

    The log, a metric and /healthz report the loss, and the service continues to work. The epochs of the new store's
    plans begin at 1 again. The actors follow these plans all the same, so a vendor that fails now gets no new work. The
    two actors of a pool get different names. If they had the same name, each actor would send what the other actor has
    in flight.
    """
    bench = make_bench()
    for vendor in bench.settings["vendors"].values():
        vendor["rate_per_s"] = 200
    bench.store().hset("{nd:0}:plan", "epoch", 500)
    bench.start()
    bench.second("sms-a")
    copied: list[bytes] = []
    file = bench.append_only_file()

    def lose() -> None:
        if fault == "emptied":
            bench.store().flushall()
            return
        bench.server.stop()
        file.write_bytes(copied[0])
        bench.server.start()

    def live() -> set[str]:
        return {name for name, state in bench.actors().items() if state == "live"}

    before = bench.post(paid(120), RATE, (1.0, lambda: copied.append(file.read_bytes())))
    names = live()
    bench.post([], 1.0, (0.0, lose))
    after = bench.post(paid(60), RATE)
    bench.until(lambda: bench.metric("dispatcher_store_breaks_total") >= 1, 5)
    warnings = bench.ask("/healthz")[1]["warnings"]  # may also warn of a full machine
    assert sum("accepted triggers" in told or "had accepted" in told for told in warnings) == 1, warnings
    assert "store_broke" in bench.logs()
    assert [(p.status, p.tries, p.problem) for p in before + after if p.accepted_s is None] == []
    found = bench.judge(after)
    assert found.lost == []
    assert not {p.key for p in after} & {name.partition("/")[0] for name in found.verdict.duplicated}
    assert len(live()) == len(names) == 3
    assert fault != "emptied" or not live() & names
    bench.until(lambda: bench.plan().get("sms-a", {}).get("takes_new", False), 5)
    bench.sandbox.fault("sms-a", "error")
    after += bench.post(paid(60), RATE)
    bench.until(lambda: bench.plan()["sms-a"]["state"] != "closed", 5)
    bench.sandbox.fault("sms-a")
    assert bench.judge(after).lost == []
