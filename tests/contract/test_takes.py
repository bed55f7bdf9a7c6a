"""Entries of dead actors are taken, and entries that nobody can explain end in a known way."""

from __future__ import annotations

import pytest

from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.redis.keys import Keys
from dispatcher.errors import FencedError
from dispatcher.ports import Applied
from tests.contract.worlds import World, lanes, settle

KEYS = Keys()


async def test_the_claims_of_the_dead_are_taken(world: World) -> None:
    """A living drainer gets them in its own name, counts a crash, and may settle them."""
    dying, me = await world.actor(), await world.actor()
    claims = await world.claimed(dying, 3)
    assert (await world.store.take(me, lanes("a"))).claims == []
    await world.bury(dying)
    taken = (await world.store.take(me, lanes("a"))).claims
    assert [c.entry_id for c in taken] == [c.entry_id for c in claims]
    assert [c.notification.crashes for c in taken] == [1, 1, 1]
    assert (await world.store.take(me, lanes("a"))).claims == []
    assert await world.store.apply(me, [(c, settle()) for c in taken], world.now_ms()) == [Applied.DONE] * 3


async def test_a_clean_stop_makes_no_suspects(world: World) -> None:
    """Scale-down and deploys count no crash."""
    leaving, me = await world.actor(), await world.actor()
    await world.claimed(leaving)
    await world.control.stopped(leaving)
    (taken,) = (await world.store.take(me, lanes("a"))).claims
    assert taken.notification.crashes == 0


async def test_crashes_add_up_over_owners(world: World) -> None:
    """Poison is known by the number of its owners that died."""
    owner = await world.actor()
    await world.claimed(owner)
    for crashes in (1, 2, 3):
        after = await world.actor()
        await world.bury(owner)
        (taken,) = (await world.store.take(after, lanes("a"))).claims
        assert taken.notification.crashes == crashes
        owner = after


async def test_only_who_was_singled_out_is_suspected(world: World) -> None:
    """The dead actor's other entries were not being sent."""
    dying, me = await world.actor(), await world.actor()
    _, suspect, _ = await world.claimed(dying, 3)
    assert await world.store.single_out(dying, suspect.notification.id)
    await world.bury(dying)
    taken = (await world.store.take(me, lanes("a"))).claims
    assert [c.notification.crashes for c in taken] == [0, 1, 0]


@pytest.mark.parametrize("ended", [True, False])
async def test_a_mark_ends_with_the_word_or_with_its_incarnation(world: World, ended: bool) -> None:
    """It is nobody else's, and after its end all are suspected as usual."""
    dying, me = await world.actor(), await world.actor()
    claims = await world.claimed(dying, 3)
    if ended:
        await world.store.single_out(dying, claims[0].notification.id)
        assert await world.store.single_out(dying, None)
    else:
        await world.store.single_out(me, claims[0].notification.id)
    await world.bury(dying)
    assert not await world.store.single_out(dying, claims[0].notification.id)
    taken = (await world.store.take(me, lanes("a"))).claims
    assert [c.notification.crashes for c in taken] == [1, 1, 1]


@pytest.mark.parametrize("state", ["live", "stopped", "dead"])
async def test_only_the_live_take_and_nobody_from_the_living(world: World, state: str) -> None:
    """A take from a live one, or by one that is not live, gives nothing."""
    owner, me = await world.actor(), await world.actor()
    await world.claimed(owner)
    if state == "stopped":
        await world.control.stopped(me)
    elif state == "dead":
        await world.bury(me)
    if state != "live":
        await world.bury(owner)
    assert (await world.store.take(me, lanes("a"))).claims == []
    assert len((await world.store.own(owner, lanes("a"), set())).claims) == 1


async def test_what_is_delivered_to_the_dead_later_is_found_too(world: World) -> None:
    """Takes are level-triggered: a second look finds what came after the first."""
    dying, me = await world.actor(), await world.actor()
    await world.claimed(dying)
    await world.bury(dying)
    assert len((await world.store.take(me, lanes("a"))).claims) == 1
    # A blocked read of a frozen actor delivers into the dead one's pending list.
    await world.store.claim(me, lanes("a"), 1)
    (nid,) = await world.queued(1)
    await world.store.wait(dying, lanes("a"), 1, 10)
    taken = (await world.store.take(me, lanes("a"))).claims
    assert [c.notification.id for c in taken] == [nid]


async def test_hold_and_started_becomes_held(world: World) -> None:
    """Under `hold`, what may have been sent is held; what was not started is claimed again."""
    dying, me = await world.actor(), await world.actor()
    started, not_started = await world.claimed(dying, 2, on_unknown="hold")
    assert await world.store.start(dying, started)
    await world.bury(dying)
    taken = (await world.store.take(me, lanes("a"))).claims
    assert [c.notification.id for c in taken] == [not_started.notification.id]
    assert await world.state(started.notification.id) == "held"
    assert (await world.control.counts())["held"] == 1
    assert (await world.store.own(dying, lanes("a"), set())).claims == []


async def test_a_take_is_bounded(world: World) -> None:
    """At most so many at once; the rest comes with the next look."""
    dying, me = await world.actor(), await world.actor()
    await world.claimed(dying, 5)
    await world.bury(dying)
    assert [len((await world.store.take(me, lanes("a"), 3)).claims) for _ in range(3)] == [3, 2, 0]


async def test_an_incarnation_is_forgotten_when_no_mailbox_lists_it(world: World) -> None:
    """Ended ones stay listed until everything of theirs is taken."""
    dying, me = await world.actor(), await world.actor()
    (claim,) = await world.claimed(dying)
    await world.bury(dying)
    assert await world.control.ended() == []
    (taken,) = (await world.store.take(me, lanes("a"))).claims
    assert taken.entry_id == claim.entry_id
    await world.store.take(me, lanes("a"))
    assert await world.control.ended() == [dying]
    await world.control.forget([dying])
    assert await world.control.ended() == []
    assert list(await world.control.live()) == [me]


async def test_incarnations_are_never_used_twice(world: World) -> None:
    """Each start has a number of its own, over all vendors."""
    names = [await world.actor(vendor) for vendor in ("a", "b", "a")]
    assert [name.partition("-")[0] for name in names] == ["a/1", "b/2", "a/3"]
    assert sorted(await world.control.live()) == sorted(names)


async def forget_actors(world: World) -> None:
    """A store that was emptied, or went back to a copy from before anybody registered."""
    if isinstance(world.control, MemoryControl):
        cell = world.control._cell
        cell.actors.clear()
        cell.processes.clear()
        cell.incarnations = 0
    else:
        await world.control._redis.delete(KEYS.actors, KEYS.processes, KEYS.incarnations)


async def test_a_store_that_counts_anew_gives_no_name_twice(world: World) -> None:
    """Two of a pool still work under their names when it does: whoever comes now is neither of them to any fence."""
    before = [await world.actor(), await world.actor()]
    await forget_actors(world)
    after = [await world.actor(), await world.actor()]
    assert not set(before) & set(after)
    assert [name.partition("-")[0] for name in after] == ["a/1", "a/2"], "it did not count again"
    await world.queued(1)
    for me in before:
        with pytest.raises(FencedError):
            await world.store.claim(me, lanes("a"), 1)


async def test_what_a_dead_actor_had_begun_is_held_no_longer_than_it_lives(world: World) -> None:
    """Under `hold`: till its time is over, or an hour; and its history says what happened."""
    me = await world.actor()
    short_ms, long_ms = world.now_ms() + 60_000, world.now_ms() + 86_400_000
    claims = [(await world.claimed(me, 1, on_unknown="hold", expires_ms=at_ms))[0] for at_ms in (short_ms, long_ms)]
    for claim in claims:
        assert await world.store.start(me, claim)
    await world.bury(me)
    assert (await world.store.take(await world.actor(), lanes("a"))).claims == []
    until_ms = dict(await world.store.held_ids(0, 10))
    for claim, expected_ms in zip(claims, (short_ms, world.now_ms() + 3_600_000), strict=True):
        nid = claim.notification.id
        assert abs(until_ms[nid] - expected_ms) < 5000
        (attempt,) = (await world.views.trigger(nid.rpartition(".")[0])).notifications[0].attempts
        assert (attempt.vendor, attempt.outcome, attempt.reason) == ("a", "unknown", "actor_ended")
