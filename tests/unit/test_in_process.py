"""Runs the whole dispatcher in one process, on the memory store and in virtual time.

Nothing is lost through outages and deaths.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.life.outcome import Outcome
from tests.unit.play import Actor, Play, outage
from tests.virtual import run_virtual, until, virtual


def test_an_outage_loses_nothing() -> None:
    """Each trigger is delivered once, by vendor b while vendor a fails and by vendor a after it recovered."""
    run_virtual(outage())


@virtual
async def test_a_killed_actors_work_is_done_by_the_next() -> None:
    """When an actor is killed and declared dead, the vendor's new actor takes its 20 claims and sends them."""
    play = Play()
    await play.start()
    play.a.duration_s = 30.0
    ids = await play.post(20)
    await until(lambda: len(play.a.sent) == 20)
    play.actors["a"].kill()
    play.a.duration_s = 0.02
    play.actors["a"] = await Actor(play, play.a).start()
    await play.all_settled(20, 5.0)
    assert play.accepted_by() == Counter(ids)
    assert Counter(play.a.ids) == Counter(ids * 2)
    assert play.stage.counted("dispatcher_takes", "a") == 20


@virtual
async def test_a_vendor_whose_only_actor_died_is_covered_by_its_fallback() -> None:
    """If the only actor of a vendor dies and is not restarted, the other vendor sends its claims within 4 s, and
    new work too.
    """
    play = Play()
    await play.start()
    play.a.duration_s = 30.0
    ids = await play.post(20)
    await until(lambda: len(play.a.sent) == 20)
    play.actors["a"].kill()
    await play.all_settled(20, 4.0)
    assert play.accepted_by() == Counter(ids)
    assert Counter(play.b.ids) == Counter(ids)
    await play.post(25)
    await play.all_settled(25, 1.0)


@virtual
async def test_a_killed_actors_started_holds_are_not_repeated() -> None:
    """Under `hold`, messages whose calls had begun when their actor was killed are held and never sent again."""
    play = Play()
    await play.start()
    play.a.duration_s = 30.0
    ids = await play.post(5, on_unknown="hold")
    await until(lambda: len(play.a.sent) == 5)
    play.actors["a"].kill()
    play.actors["a"] = await Actor(play, play.a).start()
    await until(lambda: play.stage.states() == ["held"] * 5, 5.0)
    await asyncio.sleep(60.0)
    assert Counter((*play.a.ids, *play.b.ids)) == Counter(ids)


@virtual
async def test_a_hiccup_while_the_fallback_is_down_is_soon_over() -> None:
    """A message that failed once at the healthy vendor is sent within 20 s, and does not wait for the vendor that
    is down.
    """
    play = Play()
    await play.start()
    play.b.then = Outcome.failed("http_503")
    play.actors["b"].courier.breaker.force(BreakerState.FORCED_OPEN, 0)
    await until(lambda: not play.supervisor.plan.usable("b"))
    play.a.outcomes = [Outcome.failed("http_500")] * 3
    await play.post(10)
    await play.all_settled(10, 20.0)


@virtual
async def test_both_down_holds_and_then_delivers() -> None:
    """While both vendors are down, messages wait.

    When one vendor is back, at least 20 of 30 messages are delivered, each once, and the rest are dead letters
    with used-up attempts.
    """
    play = Play()
    await play.start()
    play.a.then = play.b.then = Outcome.failed("http_503")
    ids = await play.post(30)
    await asyncio.sleep(20.0)
    assert "settled" not in play.stage.states()
    play.b.then = None
    await until(lambda: set(play.stage.states()) <= {"settled", "dead"}, 900.0)
    delivered = play.accepted_by()
    assert set(delivered.values()) == {1}
    dead = {f"{r.trigger.id}.0": r.notes[0].reason for r in play.stage.cell.records.values() if r.notes[0].reason}
    assert delivered.keys() | dead.keys() == set(ids)
    assert set(dead.values()) <= {"attempts_exhausted"}
    assert len(delivered) >= 20


@pytest.mark.parametrize("seed", range(10))
def test_random_faults_lose_nothing(seed: int) -> None:
    """Under random failures, unknown outcomes and kills, every accepted trigger ends and is accepted by a vendor
    at most once. No message has more calls than recorded attempts and crashes.
    """

    async def scene() -> None:
        dice, play = random.Random(seed), Play()
        await play.start()
        ids: list[str] = []
        for n in range(0, 40, 4):
            for vendor in (play.a, play.b):
                vendor.outcomes = [
                    dice.choice([Outcome.failed("x"), Outcome.unknown("y"), Outcome.accepted("v")])
                    for _ in range(dice.randrange(6))
                ]
                vendor.duration_s = dice.choice([0.01, 0.2, 1.0])
            ids = await play.post(n + 4, 0.01)
            if dice.random() < 0.3:
                name = dice.choice("ab")
                play.actors[name].kill()
                play.actors[name] = await Actor(play, getattr(play, name)).start()
            await asyncio.sleep(dice.random())
        await until(lambda: set(play.stage.states()) <= {"settled", "dead"}, 900.0)
        assert len(ids) == 40
        ended = play.accepted_by()
        for nid in ids:
            note = play.stage.cell.found(nid)[1]
            calls = (*play.a.ids, *play.b.ids).count(nid)
            assert note.state == "settled" or note.reason in ("poison", "attempts_exhausted"), (seed, nid)
            assert ended[nid] <= 1
            assert calls <= len(note.history) + note.crashes, (seed, nid)

    run_virtual(scene())
