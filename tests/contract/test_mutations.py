"""Tests the contract tests: if one protection of the scripts or the client is removed, a contract test must fail.

The mutations here change the Lua scripts and the Redis client, whose effect only a real Redis shows. The mutations of
the loops belong to the simulation (tests/simulation/mutations.py). One more mutation, `appendfsync everysec`, is in
tests/chaos/test_durability.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
import redis.asyncio

from dispatcher.adapters.redis import script_calls as scripts
from dispatcher.adapters.redis.connection import Command, SharedConnection
from dispatcher.adapters.redis.script_calls import Call
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.core.life.notification import Lane
from dispatcher.errors import UnavailableError
from dispatcher.ports import Claims
from tests.contract import (
    test_accept_rate,
    test_caps,
    test_claims,
    test_endings,
    test_fallbacks,
    test_full_redis,
    test_held,
    test_store_redis,
    test_takes,
    test_turns,
    test_waiting,
)
from tests.contract.mutations import RED, Mutation, Test, edited
from tests.contract.worlds import ENDINGS, World

FENCE = "if mine.err or #mine == 0 then return 'LOST' end"
XACK_AS_FENCE = "if redis.call('XACK', lane, 'g', ARGV[1]) == 0 then return 'LOST' end"
OPENS_A_FULL_REDIS = "redis.call('DEL', KEYS[3])"
ENDING_SCRIPTS = ("settle", "dead", "move", "retry", "hold")


def removed_first(name: str) -> Mutation:
    """Return a mutation of one script that removes the entry (XACK and XDEL) before it writes the destination."""
    return edited(name, ("leave()\nreturn 'OK'", "return 'OK'"), (OPENS_A_FULL_REDIS, f"{OPENS_A_FULL_REDIS} leave()"))


def swept_once() -> contextlib.AbstractContextManager[Any]:
    """Return a context manager that breaks the store: it takes only one batch of a dead incarnation's claims, and
    leaves the rest.
    """
    swept: set[tuple[str, str]] = set()
    run = scripts.run

    async def run_once(connection: redis.asyncio.Redis, calls: Sequence[Call]) -> list[Any]:
        fresh = [c for c in calls if c.script != "take" or (c.keys[0], c.args[0]) not in swept]
        swept.update((c.keys[0], c.args[0]) for c in calls if c.script == "take")
        return await run(connection, fresh)

    return mock.patch("dispatcher.adapters.redis.store.run", run_once)


def client_that_repeats() -> contextlib.AbstractContextManager[Any]:
    """Return a mutation in which the client sends an unanswered command again, as redis-py does by default."""
    ask = SharedConnection.ask

    async def eager(self: SharedConnection, commands: Sequence[Command]) -> list[Any]:
        for _ in range(10):
            with contextlib.suppress(*scripts.UNAVAILABLE):
                return await ask(self, commands)
        return await ask(self, commands)

    return mock.patch.object(SharedConnection, "ask", eager)


def no_self_audit() -> contextlib.AbstractContextManager[Any]:
    async def own(self: RedisStore, me: str, lanes: Sequence[Lane], known: Any) -> Claims:
        return Claims(0, [], [])

    return mock.patch.object(RedisStore, "own", own)


MUTATIONS: dict[str, tuple[Mutation, Test]] = {
    **{
        f"{name}: XACK as fence": (
            edited(name, (FENCE, XACK_AS_FENCE)),
            lambda world, connection, url, name=name: test_endings.test_a_stale_owner_decides_nothing(  # type: ignore[misc]
                world, ENDINGS[name]
            ),
        )
        for name in ENDING_SCRIPTS
    },
    **{
        f"{name}: removed before the destination": (
            removed_first(name),
            lambda world, connection, url, name=name: test_store_redis.test_an_error_repeats_and_cannot_lose(  # type: ignore[misc]
                world, connection, name
            ),
        )
        for name in test_store_redis.DESTINATIONS
    },
    **{
        f"{name}: no way out of a full Redis": (
            edited(name, (OPENS_A_FULL_REDIS, "")),
            lambda world, connection, url, name=name: test_full_redis.test_every_ending_works_on_a_full_redis(  # type: ignore[misc]
                world, connection, ENDINGS[name]
            ),
        )
        for name in ENDING_SCRIPTS
    },
    "accept: a full Redis is opened": (
        edited("accept", ("local count = #KEYS - 6", "redis.call('DEL', '{nd:0}:nil') local count = #KEYS - 6")),
        lambda world, connection, url: test_full_redis.test_a_full_redis_refuses_new_work_cleanly(world, connection),
    ),
    "take: who was singled out is not asked": (
        edited("take", ("(not suspect or suspect == nid)", "true")),
        lambda world, connection, url: test_takes.test_only_who_was_singled_out_is_suspected(world),
    ),
    "start: no mark": (
        edited("start", ("ARGV[3] .. '.st', 'started', ", "")),
        lambda world, connection, url: test_takes.test_hold_and_started_becomes_held(world),
    ),
    "start: no fence": (
        edited("start", ("if mine.err or #mine == 0 then return 'LOST' end", "")),
        lambda world, connection, url: test_endings.test_the_start_mark_needs_a_live_owner(world),
    ),
    "start: only the later twin is marked": (
        edited("start", ("redis.pcall('HSET', other, i .. '.tw', 1)", "")),
        lambda world, connection, url: test_held.test_twins_know_each_other(world),
    ),
    "accept: a window of the clock": (
        edited("accept", ("tonumber(oldest) > now - per", "tonumber(oldest) >= now - now % per")),
        lambda world, connection, url: test_caps.test_the_window_slides(world),
    ),
    "accept: what is suppressed counts": (
        edited("accept", ("if not stopped[tonumber(ARGV[at + 3 * n])] then", "if true then")),
        lambda world, connection, url: test_caps.test_a_suppressed_one_counts_nowhere(world),
    ),
    "accept: siblings do not see each other": (
        edited("accept", ("added[key] or 0", "0")),
        lambda world, connection, url: test_caps.test_siblings_to_one_recipient_see_each_other(world),
    ),
    "accept: a full Redis is opened by a cap": (
        edited("accept", ("local t = redis.call('TIME')", "local t = redis.call('TIME') redis.call('DEL', KEYS[1])")),
        lambda world, connection, url: test_caps.test_a_refused_trigger_counts_nothing(world, connection),
    ),
    "accept: all suppressed, and kept forever": (
        edited("accept", ("if open == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[13 + count]) end", "")),
        lambda world, connection, url: test_caps.test_a_trigger_that_is_all_suppressed_is_compact_and_expires(
            world, connection
        ),
    ),
    "take: swept once": (
        swept_once,
        lambda world, connection, url: test_takes.test_what_is_delivered_to_the_dead_later_is_found_too(world),
    ),
    "take: from the living": (
        edited("take", (" or redis.call('HGET', KEYS[2], ARGV[1]) == 'live'", "")),
        lambda world, connection, url: takes_from_the_living(world),
    ),
    "claim: by the dead": (
        edited("claim", ("if redis.call('HGET', KEYS[1], ARGV[1]) ~= 'live' then return {'FENCED'} end", "")),
        lambda world, connection, url: test_claims.test_a_claim_needs_a_live_incarnation(world, "dead"),
    ),
    "claim: an error strands its neighbours": (
        edited("claim", ("redis.pcall(", "redis.call(")),
        lambda world, connection, url: claims_beside_a_broken_lane(world),
    ),
    "promote: without the score": (
        edited("promote", ("if not score or score ~= ARGV[2] then", "if not score then")),
        lambda world, connection, url: test_waiting.test_a_promotion_read_before_another_retry_is_gone(world),
    ),
    "withdraw: what is claimed": (
        edited("withdraw", ("return {'CLAIMED'}", "")),
        lambda world, connection, url: test_waiting.test_a_claimed_one_cannot_be_withdrawn(world),
    ),
    "accept: whoever comes first goes first": (
        edited("accept", ("if unclaimed >= DIRECT then\n      redis", "if false then\n      redis")),
        lambda world, connection, url: test_turns.test_a_flood_of_one_tenant_lets_the_others_pass(world),
    ),
    "accept: an idle lane makes queues": (
        edited("accept", ("unclaimed = unclaimed - pending[1]", "unclaimed = unclaimed + 0")),
        lambda world, connection, url: test_turns.test_without_a_backlog_entries_go_straight_to_the_lane(
            world, connection
        ),
    ),
    "claim: turns before what was there": (
        edited("claim", ("owner and math.min(left, tonumber(old))", "owner and 0")),
        lambda world, connection, url: test_turns.test_an_earlier_version_left_its_backlog_in_the_lane(
            world, connection
        ),
    ),
    "claim: an interrupted turn begins again": (
        edited("claim", ("interrupted = string.format('%d', left) .. ' ' .. tenant", "interrupted = '0 ' .. tenant")),
        lambda world, connection, url: test_turns.test_turns_follow_the_weights(world),
    ),
    "claim: the record is not told": (
        edited("claim", ("if f[10] == item.eid then", "if false then")),
        lambda world, connection, url: test_turns.test_a_claim_of_a_dead_actor_is_taken_from_its_turn(world),
    ),
    "claim: whoever has nothing left keeps the backlog": (
        edited("claim", ("drained = #owned < of_owner or not last or last[1] == owned[#owned][1]", "drained = false")),
        lambda world, connection, url: test_turns.test_an_empty_queue_leaves_no_key(world, connection),
    ),
    "claim: no turns on a full Redis": (
        edited("claim", ("redis.call('DEL', c['nil'])", "")),
        lambda world, connection, url: test_turns.test_a_full_redis_still_hands_out_turns(world, connection),
    ),
    "accept: the rate before the key": (
        edited("accept", ("if known == ARGV[2] then", "if known == ARGV[2] and ARGV[10] == '' then")),
        lambda world, connection, url: test_accept_rate.test_a_repeat_is_answered_first_and_uses_nothing(world),
    ),
    "accept: a rate that was slower locks out": (
        edited("accept", ("local changed = granted or kept - now > span", "local changed = granted")),
        lambda world, connection, url: test_accept_rate.test_a_changed_rate_counts_from_the_next_trigger_on(world),
    ),
    "accept: what is granted is not kept": (
        edited("accept", ("return granted, changed and now + debt,", "return granted, nil,")),
        lambda world, connection, url: test_accept_rate.test_replicas_share_one_bucket(world, url),
    ),
    "withdraw: what waits for its turn still counts": (
        edited("withdraw", ("redis.call('DECR', lane .. ':waits')", "")),
        lambda world, connection, url: test_turns.test_depth_and_backlog_count_what_waits_for_its_turn(world),
    ),
    "expired: the lane alone": (
        edited("expired", ("at, from, left = at + 1, '-', left - #page - 1", "do break end")),
        lambda world, connection, url: test_turns.test_the_expired_are_found_in_every_queue(world),
    ),
    "withdraw: its fallback is not looked at": (
        edited("withdraw", ("if f[4] then", "if false then")),
        lambda world, connection, url: test_fallbacks.test_the_end_of_the_first_makes_it_due(
            world, test_fallbacks.expired
        ),
    ),
    "settle: its fallback is not looked at": (
        edited("settle", ("if fields[3] then", "if false then")),
        lambda world, connection, url: test_fallbacks.test_the_end_of_the_first_makes_it_due(
            world, test_fallbacks.settled
        ),
    ),
    "dead: its fallback is not looked at": (
        edited("dead", ("if fields[3] then", "if false then")),
        lambda world, connection, url: test_fallbacks.test_the_end_of_the_first_makes_it_due(
            world, test_fallbacks.died
        ),
    ),
    "begin: without the score and the state": (
        edited(
            "begin",
            ("if not score or score ~= ARGV[2] then return 'GONE' end", ""),
            ("if mine[1] ~= 'standby' then return 'GONE' end", ""),
        ),
        lambda world, connection, url: test_fallbacks.test_many_deciders_begin_it_once(world),
    ),
    "begin: what an actor has is overtaken": (
        edited("begin", ("waits = p.err ~= nil or #p == 0", "waits = true")),
        lambda world, connection, url: test_fallbacks.test_the_store_decides_as_the_rules_do(
            world, test_fallbacks.claimed, test_fallbacks.LATE, "accepted"
        ),
    ),
    "begin: the overtaken one stays in its mailbox": (
        edited("begin", ("redis.call('XDEL', lane, eid) == 1", "false")),
        lambda world, connection, url: test_fallbacks.test_the_store_decides_as_the_rules_do(
            world, test_fallbacks.queued, test_fallbacks.LATE, "accepted"
        ),
    ),
    "begin: the overtaken one stays due": (
        edited("begin", ("redis.call('ZREM', KEYS[4], other)", "")),
        lambda world, connection, url: test_fallbacks.test_the_store_decides_as_the_rules_do(
            world, test_fallbacks.waits_to_be_tried_again, test_fallbacks.LATE, "accepted"
        ),
    ),
    "begin: a queue of a tenant is miscounted": (
        edited("begin", ("redis.call('DECR', queue_of .. ':waits')", "")),
        lambda world, connection, url: test_fallbacks.test_a_first_that_waits_for_its_tenants_turn_can_be_overtaken(
            world
        ),
    ),
    "begin: a skipped one keeps its record": (
        edited("begin", ("  finish(rec, ARGV[4])", "")),
        lambda world, connection, url: test_fallbacks.test_the_record_ends_with_the_last_of_both(world, connection),
    ),
    "begin: a full Redis is not opened": (
        edited("begin", ("redis.call('DEL', KEYS[3])", "")),
        lambda world, connection, url: test_fallbacks.test_a_full_store_still_decides(world, connection),
    ),
    "receipt: of an earlier attempt": (
        edited("receipt", (" or (ARGV[2] == 'undelivered' and f[1] ~= 'settled')", "")),
        lambda world, connection, url: test_fallbacks.test_a_receipt_is_kept_only_if_somebody_waits_for_it(world),
    ),
    "client: repeats by itself": (
        client_that_repeats,
        lambda world, connection, url: test_store_redis.test_a_lost_reply_is_not_asked_for_again(connection, url),
    ),
    "store: no self-audit": (
        no_self_audit,
        lambda world, connection, url: test_claims.test_the_audit_finds_what_is_mine_and_unknown(world, 3),
    ),
}


async def claims_beside_a_broken_lane(world: World) -> None:
    """Run the claim test for a lane without a consumer group.

    If the mutated script raises an error in Redis, raise AssertionError, so that the error counts as a failed test.
    """
    try:
        await test_claims.test_a_lane_without_a_group_strands_nothing(world)
    except UnavailableError as error:
        raise AssertionError(str(error)) from error


async def takes_from_the_living(world: World) -> None:
    """Assert that a take gets nothing from a live actor.

    The script is called directly, because the method of the store would ask for the entries of dead actors only.
    """
    owner, me = await world.actor(), await world.actor()
    await world.claimed(owner)
    keys = test_store_redis.KEYS
    lane = test_store_redis.LANE
    where = [lane, keys.actors, keys.held, keys.nil, keys.singled, keys.clock]
    call = Call("take", where, [owner, me, keys.record_prefix, 1, 9])
    ((_, _, got),) = await scripts.run(world.store._redis, [call])
    assert got == []


async def test_a_take_from_the_living_is_refused_by_the_script(redis_world: World) -> None:
    """The script `take` takes nothing from a live actor, even if the store has wrongly listed the actor as dead."""
    await takes_from_the_living(redis_world)


@pytest.mark.parametrize("name", MUTATIONS)
async def test_a_protection_taken_away_is_noticed(
    name: str, redis_world: World, redis_client: redis.asyncio.Redis, redis_url: str
) -> None:
    """With one protection removed, the contract test that belongs to it fails."""
    mutation, test = MUTATIONS[name]
    with mutation(), pytest.raises(RED):
        await test(redis_world, redis_client, redis_url)
