"""Tests takes: the entries of dead actors are claimed by living ones, and crashes are counted."""

from __future__ import annotations

import pytest

from dispatcher.adapters.memory.control import MemoryControl
from dispatcher.adapters.redis.keys import Keys
from dispatcher.errors import FencedError
from dispatcher.ports import Applied
from tests.contract.worlds import World, lanes, settle

KEYS = Keys()


async def test_the_claims_of_the_dead_are_taken(world: World) -> None:
    """A living actor takes the entries of a dead one, once. For each of the notifications one crash is counted, and
    each can be settled.
    """
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
    """Entries of an actor that stopped cleanly are taken without counting a crash."""
    leaving, me = await world.actor(), await world.actor()
    await world.claimed(leaving)
    await world.control.stopped(leaving)
    (taken,) = (await world.store.take(me, lanes("a"))).claims
    assert taken.notification.crashes == 0


async def test_crashes_add_up_over_owners(world: World) -> None:
    """Each owner of a notification that dies adds one to the number of its crashes. A poison message is recognised by
    this number.
    """
    owner = await world.actor()
    await world.claimed(owner)
    for crashes in (1, 2, 3):
        after = await world.actor()
        await world.bury(owner)
        (taken,) = (await world.store.take(after, lanes("a"))).claims
        assert taken.notification.crashes == crashes
        owner = after


async def test_only_who_was_singled_out_is_suspected(world: World) -> None:
    """A dead actor had marked the one entry that it was sending. Only this entry counts a crash when the entries are
    taken.
    """
    dying, me = await world.actor(), await world.actor()
    _, suspect, _ = await world.claimed(dying, 3)
    assert await world.store.single_out(dying, suspect.notification.id)
    await world.bury(dying)
    taken = (await world.store.take(me, lanes("a"))).claims
    assert [c.notification.crashes for c in taken] == [0, 1, 0]


@pytest.mark.parametrize("ended", [True, False])
async def test_a_mark_ends_with_the_word_or_with_its_incarnation(world: World, ended: bool) -> None:
    """An actor may mark one entry as the only one that it is sending. After a crash, only the marked entry then counts
    it.

    Here the dead actor had removed its mark, or the mark was set by another incarnation. So each entry that is taken
    counts a crash. A dead actor cannot set a mark.
    """
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
    """A live actor takes from another live actor, or an actor that is not live takes from a dead one. Both get nothing,
    and the entries stay with their owner.
    """
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
    """A dead actor's entries are taken. Then the dead actor's blocked read gets one more entry. The next take
    finds it.
    """
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
    """An actor dies with two claims under `hold`. For one of them a send may have begun.

    Another actor takes both. The notification that was maybe sent becomes held, and only the other one is claimed.
    """
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
    """A take returns at most the given number of entries. The next take returns the rest."""
    dying, me = await world.actor(), await world.actor()
    await world.claimed(dying, 5)
    await world.bury(dying)
    assert [len((await world.store.take(me, lanes("a"), 3)).claims) for _ in range(3)] == [3, 2, 0]


async def test_an_incarnation_is_forgotten_when_no_mailbox_lists_it(world: World) -> None:
    """An actor has died with a claim. Its incarnation can be forgotten only after another actor has taken all its
    claims.
    """
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
    """Each registered incarnation gets a new number, over all vendors."""
    names = [await world.actor(vendor) for vendor in ("a", "b", "a")]
    assert [name.partition("-")[0] for name in names] == ["a/1", "b/2", "a/3"]
    assert sorted(await world.control.live()) == sorted(names)


async def forget_actors(world: World) -> None:
    """Remove all actors and the counter of incarnations, as in a store that was emptied or restored from an old
    copy.
    """
    if isinstance(world.control, MemoryControl):
        cell = world.control._cell
        cell.actors.clear()
        cell.processes.clear()
        cell.incarnations = 0
    else:
        await world.control._redis.delete(KEYS.actors, KEYS.processes, KEYS.incarnations)


async def test_a_store_that_counts_anew_gives_no_name_twice(world: World) -> None:
    """A store that was emptied counts incarnations from 1 again. The new names still differ from the old ones.

    An incarnation with an old name can no longer claim (FencedError).
    """
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
    """Under `hold`, a started notification of a dead actor is held until it expires, at most for an hour.

    Its history has an unknown attempt with the reason `actor_ended`.
    """
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
