"""A cell stores nothing for a process that knows of fewer cells, tells what it has, and counts for other cells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.memory.cell import Cell
from dispatcher.adapters.memory.cells import MemoryCellMember
from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.adapters.redis.cells import RedisCellMember
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.replicas import ReplicatedWrites
from dispatcher.adapters.redis.script_calls import Call, Client, client, run
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.views import RedisViews
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.cell_start import join_cells
from dispatcher.core.accepting.caps import Cap
from dispatcher.core.cells.membership import Membership
from dispatcher.core.life.decide import Settle
from dispatcher.core.life.notification import NewTrigger
from dispatcher.core.limits.accept_rate import AcceptRate
from dispatcher.core.store.replication import ReplicaRule
from dispatcher.errors import ConfigError, UnavailableError
from dispatcher.ports import (
    STORED,
    AcceptReply,
    AcceptResult,
    Applied,
    CellMember,
    Charged,
    ChargeResult,
    Control,
    Store,
)
from tests.contract.worlds import (
    CAPPED,
    CONFLICT,
    ENDINGS,
    FULL,
    REPLAYED,
    RETENTION_MS,
    World,
    attempt,
    full,
    lanes,
    trigger,
)
from tests.private_redis import ANSWER_S
from tests.smallest_user import SMALLEST_USER

SLOW = AcceptRate(0.01, 2)
CAP = Cap("of-someone", 2, 3_600_000)


class OneCell:
    """One cell of several: its store, control and membership. `again` is the same server under another cell's name."""

    def __init__(self, store: Store, control: Control, member: CellMember, again: CellMember) -> None:
        self.store, self.control, self.member, self.again = store, control, member, again


def on_redis(connection: Any, other: Any = None) -> OneCell:
    """Return cell 1 on Redis. `other` is the connection of the same server's cell 2, if it is not `connection` too."""
    store = RedisStore(connection, keys=Keys("1"), retention_ms=RETENTION_MS)
    control = RedisControl(connection, Keys("1"))
    return OneCell(store, control, RedisCellMember(connection, "1"), RedisCellMember(other or connection, "2"))


@pytest.fixture
async def cell_1_url(redis_url: str, redis_client: Client) -> str:
    """Return the URL of the private server for a user that may use only the keys of cell 1."""
    rules = SMALLEST_USER.rules("secret", (await redis_client.info("server"))["redis_version"], "1")
    await redis_client.execute_command("ACL", "SETUSER", "of-cell-1", "reset", *rules)
    return redis_url.replace("unix://", "unix://of-cell-1:secret@")


@pytest.fixture
async def redis_cell(cell_1_url: str, redis_client: Client) -> AsyncIterator[OneCell]:
    connection = client(cell_1_url, timeout_s=ANSWER_S)
    yield on_redis(connection, redis_client)
    await connection.aclose()


@pytest.fixture
def memory_cell() -> OneCell:
    cell = Cell(SystemClock())
    store, control = MemoryStore(cell, RETENTION_MS), MemoryControl(cell)
    return OneCell(store, control, MemoryCellMember(cell, "1"), MemoryCellMember(cell, "2"))


@pytest.fixture(params=["redis", "memory"])
def one(request: pytest.FixtureRequest) -> OneCell:
    found: OneCell = request.getfixturevalue(f"{request.param}_cell")
    return found


def moved(cells: int) -> AcceptReply:
    return AcceptReply(AcceptResult.MOVED, cells=cells)


def capped(most: int = CAP.most, **changes: Any) -> NewTrigger:
    """Return a trigger of two notifications. The first one has the cap `CAP`, which allows `most` messages."""
    made = trigger(channels=2, **changes)
    first, second = made.notifications
    return replace(made, notifications=(replace(first, caps=(CAP._replace(most=most),)), second))


# ---- the fence


async def test_a_process_that_knows_fewer_cells_stores_nothing(one: OneCell) -> None:
    """After one accept by three cells, an accept by two is answered MOVED, and the trigger is not there."""
    late, new = trigger(cells=2), trigger(cells=3)
    assert await one.store.accept([new, late]) == [STORED, moved(3)]
    assert (await one.store.known([new.id, late.id], 3)).body_hashes == ("h1", None)
    assert await one.store.accept([replace(late, cells=3)]) == [STORED]


async def test_a_process_that_knows_no_cells_is_fenced_too(one: OneCell) -> None:
    assert await one.store.accept([trigger()]) == [STORED]
    await one.member.raise_to(2)
    assert await one.store.accept([trigger(), trigger(cells=2)]) == [moved(2), STORED]


async def test_what_is_stored_is_answered_whatever_the_cells(one: OneCell) -> None:
    """A repeat of a stored trigger is answered as ever, because the trigger stays in its cell."""
    old = trigger()
    await one.store.accept([old])
    await one.member.raise_to(3)
    assert await one.store.accept([old, replace(old, body_hash="other")]) == [REPLAYED, CONFLICT]


async def test_a_refused_accept_uses_no_rate_and_no_cap(one: OneCell) -> None:
    await one.member.raise_to(2)
    assert await one.store.accept([capped(rate=SLOW) for _ in range(5)]) == [moved(2)] * 5
    replies = await one.store.accept([capped(rate=SLOW, cells=2)])
    assert [(reply.result, reply.suppressed) for reply in replies] == [(AcceptResult.STORED, ())]
    assert replies[0].quota is not None
    assert replies[0].quota.left == 1


async def test_the_number_of_cells_never_falls(one: OneCell) -> None:
    for count, after in ((3, 3), (2, 3), (4, 4), (1, 4)):
        assert (await one.member.raise_to(count)).count == after
    assert (await one.store.known([], 2)).cells == 4
    assert sorted((await one.member.raise_to(1)).since_ms) == [3, 4]


async def test_the_time_of_a_number_of_cells_is_kept(one: OneCell) -> None:
    """The time is that of the first accept or question by this number, and later ones do not change it."""
    await one.store.accept([trigger(cells=2)])
    first = (await one.member.raise_to(2)).since_ms
    assert abs(first[2] - SystemClock().wall_ms()) < 10_000
    await asyncio.sleep(0.002)
    await one.store.accept([trigger(cells=2)])
    await one.store.known([], 2)
    assert (await one.member.raise_to(2)).since_ms == first


async def test_of_a_question_and_an_accept_exactly_one_wins(redis_client: Client, redis_url: str) -> None:
    """A trigger is accepted by two cells, and at once another process asks for it by three.

    If the answer is "not there", the accept has stored nothing. So the new owner may accept the trigger.
    """
    asking, accepting = client(redis_url), client(redis_url)
    for n in range(20):
        await redis_client.flushall()
        keys, mine = Keys("1"), trigger(cells=2)
        ask, store = RedisStore(asking, keys=keys), RedisStore(accepting, keys=keys)
        if n % 2:
            (reply,), found = await asyncio.gather(store.accept([mine]), ask.known([mine.id], 3))
        else:
            found, (reply,) = await asyncio.gather(ask.known([mine.id], 3), store.accept([mine]))
        assert (reply, found.body_hashes) in [(STORED, ("h1",)), (moved(3), (None,))]
    await asking.aclose()
    await accepting.aclose()


# ---- what a cell has


async def test_a_cell_tells_what_it_has(one: OneCell) -> None:
    here, other = trigger(), trigger(body_hash="h2")
    await one.store.accept([here, other])
    found = await one.store.known([other.id, "1-absent", here.id], 2)
    assert found == (2, ("h2", None, "h1"))


async def test_a_broken_record_is_told_beside_the_others(redis_cell: OneCell, redis_client: Client) -> None:
    here = trigger()
    await redis_cell.store.accept([here])
    await redis_client.set(Keys("1").record("1-broken"), "text")
    assert (await redis_cell.store.known(["1-broken", here.id], 2)) == (2, ("", "h1"))


async def test_a_full_redis_can_still_be_asked_and_fenced(redis_cell: OneCell, redis_client: Client) -> None:
    here, late = trigger(), trigger()
    await redis_cell.store.accept([here])
    async with full(redis_client):
        assert (await redis_cell.store.known([here.id], 2)) == (2, ("h1",))
        assert await redis_cell.store.accept([late, replace(late, cells=3)]) == [moved(2), FULL]
    assert (await redis_cell.member.raise_to(1)).count == 2


# ---- what another cell counted


async def test_what_the_counting_cell_suppressed_is_suppressed(one: OneCell) -> None:
    """The own cell looks neither at the rate nor at the caps of such a trigger, and counts nothing."""
    for _ in range(5):
        counted = replace(capped(rate=SLOW), suppressed=frozenset[int]())
        assert await one.store.accept([counted]) == [STORED]
    stopped = replace(capped(rate=SLOW), suppressed=frozenset({0}))
    assert await one.store.accept([stopped]) == [CAPPED]
    (fresh,) = await one.store.accept([capped(rate=SLOW)])
    assert (fresh.suppressed, fresh.quota and fresh.quota.left) == ((), 1)


async def test_a_trigger_that_is_suppressed_whole_expires(redis_cell: OneCell, redis_client: Client) -> None:
    whole, half = (replace(trigger(channels=2), suppressed=frozenset(some)) for some in ({0, 1}, {1}))
    replies = await redis_cell.store.accept([whole, half])
    assert [reply.suppressed for reply in replies] == [(0, 1), (1,)]
    assert 0 < await redis_client.pttl(Keys("1").record(whole.id)) <= RETENTION_MS
    assert await redis_client.pttl(Keys("1").record(half.id)) == -1


async def test_a_charge_counts_as_an_accept_does(one: OneCell) -> None:
    """Charges and accepts of a tenant share one rate and one count for each cap."""
    assert (await one.store.accept([capped()]))[0].suppressed == ()
    charges = await one.store.charge([capped(), capped()])
    assert charges == [Charged(ChargeResult.CHARGED), Charged(ChargeResult.CHARGED, (0,))]
    assert await one.store.accept([capped()]) == [CAPPED]


async def test_a_charge_beyond_the_rate_is_refused_and_counts_no_message(one: OneCell) -> None:
    charges = await one.store.charge([capped(rate=SLOW, most=3) for _ in range(3)])
    assert [charge.result.name for charge in charges] == ["CHARGED", "CHARGED", "LIMITED"]
    quotas = [charge.quota for charge in charges]
    assert [quota and quota.left for quota in quotas] == [1, 0, 0]
    assert quotas[2] is not None
    assert 0 < quotas[2].next_ms <= 100_000
    others = await one.store.charge([capped(tenant="other", most=3), capped(tenant="other", most=3)])
    assert [other.suppressed for other in others] == [(), (0,)]  # two of the three were counted before
    assert (await one.store.charge([capped(rate=SLOW)]))[0].result is ChargeResult.LIMITED


async def test_a_repeated_charge_has_the_same_answer_and_counts_once(one: OneCell) -> None:
    first, second, third = (capped(rate=AcceptRate(0.01, 9)) for _ in range(3))
    answers = await one.store.charge([first, second, third])
    assert [answer.suppressed for answer in answers] == [(), (), (0,)]
    for _ in range(5):
        assert await one.store.charge([first, second, third]) == answers
    (after,) = await one.store.charge([trigger(rate=AcceptRate(0.01, 9))])
    assert after.quota is not None
    assert after.quota.left == 9 - 4


async def test_another_body_is_charged_again(one: OneCell) -> None:
    first = capped(rate=SLOW)
    for body, left in (("h1", 1), ("h2", 0)):
        (answer,) = await one.store.charge([replace(first, body_hash=body)])
        assert answer.quota is not None
        assert answer.quota.left == left


async def test_the_answer_to_a_charge_expires_with_the_shortest_window(one: OneCell) -> None:
    """An answer that lived longer would let a message through that no window counts any more."""
    short = trigger()
    short = replace(short, notifications=(replace(short.notifications[0], caps=(CAP, Cap("short", 1, 30))),))
    assert (await one.store.charge([short]))[0].suppressed == ()
    await asyncio.sleep(0.04)
    other = replace(short, id="1-other")
    assert (await one.store.charge([other]))[0].suppressed == ()
    assert (await one.store.charge([short]))[0].suppressed == (0,)


async def test_an_answer_to_a_charge_does_not_stay(redis_cell: OneCell, redis_client: Client) -> None:
    first = capped(rate=SLOW)
    await redis_cell.store.charge([first])
    assert 0 < await redis_client.pttl(Keys("1").charge(first.id)) <= 60_000


async def test_a_full_redis_charges_nothing(redis_cell: OneCell, redis_client: Client) -> None:
    async with full(redis_client):
        answers = await redis_cell.store.charge([capped(), trigger(rate=SLOW)])
    assert answers == [Charged(ChargeResult.FULL)] * 2
    assert await redis_client.keys("*") == []


# ---- membership


async def test_what_a_cell_answers_waits_for_replicas(redis_client: Client) -> None:
    """Every answer on which another cell relies goes through the writes that wait for replicas."""
    seen: list[str] = []

    class Replicated(ReplicatedWrites):
        async def run(self, calls: Sequence[Call]) -> list[Any]:
            seen.extend(call.script for call in calls)
            return await run(redis_client, calls)

    waits = Replicated(redis_client, redis_client, ReplicaRule(), answer_s=2.0)
    store = RedisStore(redis_client, keys=Keys("1"), replicated=waits)
    member = RedisCellMember(redis_client, "1", waits)
    await store.known(["1-absent"], 2)
    await store.charge([capped()])
    await member.begin("one", 2)
    await member.raise_to(3)
    assert seen == ["known", "charge", "join", "known"]


async def test_a_cell_joins_once(one: OneCell) -> None:
    new = Membership("one", "1", 3, {2: 0})
    joined = await one.member.join(new)
    assert (joined.installation, joined.cell, joined.count, joined.first) == ("one", "1", 3, 2)
    assert await one.member.join(replace(new, installation="two", count=9)) == joined
    assert await one.member.begin("three", 5) == joined
    assert await one.member.found() == {"1": joined}


async def test_an_accept_before_the_cell_has_joined_keeps_its_number(one: OneCell) -> None:
    """A cell whose Redis was emptied learns the number of cells by an accept, and joins later."""
    await one.store.accept([trigger(cells=4)])
    assert await one.member.found() == {}
    joined = await one.member.join(Membership("one", "1", 3, {2: 0}))
    assert (joined.count, joined.first) == (4, 2)


async def test_an_installation_that_accepted_before_began_alone(one: OneCell) -> None:
    await one.store.accept([trigger()])
    assert await one.member.begin("one", 3) == Membership("one", "1", 1, {1: 0})


async def test_an_installation_whose_supervisor_had_a_term_began_alone(one: OneCell) -> None:
    """Nothing was accepted yet, but processes that know only the first cell may run, and must not be overlooked."""
    await one.control.begin_term()
    assert await one.member.begin("one", 3) == Membership("one", "1", 1, {1: 0})


async def test_an_unused_installation_begins_with_all_cells(one: OneCell) -> None:
    assert await one.member.begin("one", 3) == Membership("one", "1", 3, {3: 0})


async def test_another_cell_on_the_same_server_is_found(one: OneCell) -> None:
    await one.member.begin("one", 2)
    assert list(await one.again.found()) == ["1"]
    assert await one.again.server() == await one.member.server()
    with pytest.raises(ConfigError, match=r"has the same Redis server"):
        await join_cells([one.member, one.again], "two")
    assert list(await one.again.found()) == ["1"]


async def test_a_full_redis_lets_a_cell_join(redis_cell: OneCell, redis_client: Client) -> None:
    async with full(redis_client):
        assert (await redis_cell.member.begin("one", 2)).count == 2


async def test_a_user_of_one_cell_finds_its_own(user_url: str, redis_client: Client) -> None:
    connection = client(user_url)
    member = RedisCellMember(connection, "0")
    assert await member.found() == {}
    await member.begin("one", 2)
    assert list(await member.found()) == ["0"]
    await connection.aclose()


async def test_a_membership_of_a_server_that_is_away_is_unknown() -> None:
    connection = client("unix:///nowhere/s")
    member = RedisCellMember(connection, "1")
    for question in (member.found(), member.server(), member.raise_to(2), member.begin("one", 2)):
        with pytest.raises(UnavailableError):
            await question
    await connection.aclose()


# ---- a cell is everything under its own name


@pytest.fixture
async def second_world(cell_1_url: str) -> AsyncIterator[World]:
    connection, keys = client(cell_1_url), Keys("1")
    yield World(
        RedisStore(connection, keys=keys, retention_ms=RETENTION_MS),
        RedisControl(connection, keys),
        RedisViews(connection, keys, retention_ms=RETENTION_MS),
    )
    await connection.aclose()


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_life_in_another_cell_touches_no_other_key(
    second_world: World, redis_client: redis.asyncio.Redis, ending: str
) -> None:
    """A notification that ends in each way leaves only keys of its own cell, and is found again there."""
    me = await second_world.actor()
    (claim,) = await second_world.claimed(me, channels=1, cells=2)
    assert await second_world.store.apply(me, [(claim, ENDINGS[ending])], second_world.now_ms()) == [Applied.DONE]
    other = await second_world.actor("b")
    got = await second_world.store.claim(other, lanes("b"), 5)
    decided = [(it, Settle(attempt("b"), 2)) for it in got.claims]
    assert await second_world.store.apply(other, decided, got.now_ms) == [Applied.DONE] * (ending == "move")
    await second_world.store.due()
    await second_world.control.depths()
    await second_world.store.charge([capped(rate=SLOW)])
    names = {key.partition("}")[0] for key in await redis_client.keys("*")}
    assert names == {"{nd:1"}


async def test_one_cell_has_no_new_key_and_no_more_round_trips(
    redis_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one cell, an accept is one command in one round trip, and the hash of the cells is not written."""
    store, trips, ask = RedisStore(redis_client), list[int](), redis_client.shared.ask
    await store.accept([trigger()])

    async def counting(commands: list[object]) -> list[object]:
        trips.append(len(commands))
        return await ask(commands)  # type: ignore[arg-type]

    monkeypatch.setattr(redis_client.shared, "ask", counting)
    await store.accept([trigger(), capped(rate=SLOW)])
    assert trips == [2]
    assert not await redis_client.exists(Keys().cells)
