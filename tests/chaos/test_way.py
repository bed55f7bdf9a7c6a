"""Row 17 of docs/faults.md: the connections to Redis are cut, half-open or refused, or lose answers.

Steady state: 60 triggers/s, an SMS each, 50 ms vendors.
"""

from __future__ import annotations

import pytest

from dispatcher.adapters.redis.script_calls import script
from tests.chaos.bench.installation import MakeBench, paid
from tests.chaos.bench.link import PASS, REFUSE, STALL, Swallow
from tests.chaos.policies import policies

pytestmark = pytest.mark.chaos

RATE = 60.0
IN_FLIGHT = 30


@policies
def test_an_answer_lost_after_the_accept_is_one_trigger(make_bench: MakeBench, policy: str) -> None:
    """Row 17 of docs/faults.md: Redis stores a trigger, but the connection is reset before its reply arrives.

    The caller gets a 503 and posts the trigger again with the same key. It gets a 202, and the trigger is delivered
    once.
    """
    bench = make_bench()
    way = bench.link()
    bench.start(links={"intake": way})
    way.swallow = Swallow(script("accept").sha.encode(), times=5)
    posted = bench.post(paid(90, on_unknown=policy), RATE)
    found = bench.judge(posted)
    assert way.swallow.done == 5
    assert any(p.first_status == 503 for p in posted)
    assert found.verdict.accepted == 90
    assert found.kept(policy, 0), found


@policies
@pytest.mark.long
def test_a_connection_cut_amid_an_accept_stores_all_or_nothing(make_bench: MakeBench, policy: str) -> None:
    """Row 17 of docs/faults.md: only a part of the accept command reaches Redis.

    The caller gets no 202 for it. When the caller posts the trigger again, it is stored once.
    """
    bench = make_bench()
    way = bench.link()
    bench.start(links={"intake": way})
    steps = [(0.2 * n, lambda n=n: way.cut_amid_a_request(100 * n)) for n in range(1, 7)]
    posted = bench.post(paid(120, on_unknown=policy), RATE, *steps)
    found = bench.judge(posted)
    assert found.verdict.accepted == 120
    assert found.kept(policy, 0), found


@pytest.mark.parametrize(
    ("word", "policy"),
    [
        ("claim", "resend"),
        ("settle", "resend"),
        *(
            pytest.param(word, policy, marks=pytest.mark.long)
            for word, policy in (
                ("XREADGROUP", "resend"),
                ("claim", "hold"),
                ("settle", "hold"),
                ("start", "hold"),
                ("XREADGROUP", "hold"),
            )
        ),
    ],
)
def test_a_couriers_lost_answers_lose_and_repeat_nothing(make_bench: MakeBench, word: str, policy: str) -> None:
    """Fault row 17 (docs/faults.md): Redis carries out a courier's request, and the reply is lost.

    No message is lost or repeated. Claims whose reply was lost are found by the audit. The courier repeats a settle and
    the setting of a start mark.
    """
    bench = make_bench()
    ways = {name: bench.link() for name in ("sms-a", "sms-b")}
    bench.start(links=ways)
    wanted = word.encode() if word.isupper() else script(word).sha.encode()
    for way in ways.values():
        way.swallow = Swallow(wanted, times=4)
    posted = bench.post(paid(120, on_unknown=policy), RATE if word != "XREADGROUP" else 15.0)
    found = bench.judge(posted)
    assert ways["sms-a"].swallow is not None
    assert ways["sms-a"].swallow.done == 4
    assert found.states == {"settled": 120}
    assert found.all_well(), found


@policies
@pytest.mark.long
def test_connections_reset_all_at_once_come_back_apart(make_bench: MakeBench, policy: str) -> None:
    """Row 17 of docs/faults.md: every connection to Redis is reset, three times.

    Everything is delivered once, and no actor is declared dead.
    """
    bench = make_bench()
    ways = {name: bench.link() for name in ("intake", "supervisor", "sms-a", "sms-b")}
    bench.start(links=ways)

    def cut() -> None:
        for way in ways.values():
            way.reset_all()

    posted = bench.post(paid(180, on_unknown=policy), RATE, (0.7, cut), (1.4, cut), (2.1, cut))
    found = bench.judge(posted)
    assert found.verdict.accepted == 180
    assert found.kept(policy, IN_FLIGHT, repeats=0), found
    assert "dead" not in bench.actors().values()


@policies
@pytest.mark.parametrize("mode", [STALL, REFUSE])
@pytest.mark.long
def test_an_actor_cut_off_from_redis_is_replaced_and_fenced(make_bench: MakeBench, mode: str, policy: str) -> None:
    """Row 17 of docs/faults.md: one actor's connection to Redis stalls or is refused, until the actor is declared dead.

    Other actors take its claims. When the connection works again, the actor works under a new incarnation.
    """
    bench = make_bench()
    way = bench.link()
    bench.start(links={"sms-a": way}, keep=False)

    def cut() -> None:
        way.mode = mode
        if mode == REFUSE:
            way.reset_all()

    bodies = paid(420, on_unknown=policy)
    posted = bench.post(bodies, RATE, (1.0, cut), (5.5, lambda: setattr(way, "mode", PASS)))
    found = bench.judge(posted)
    assert found.verdict.accepted == 420
    assert found.kept(policy, IN_FLIGHT), found
    assert bench.workers["sms-a"].alive()
    bench.until(lambda: all(len(v["breaker"]) == 1 for v in bench.vendors()), 5)
