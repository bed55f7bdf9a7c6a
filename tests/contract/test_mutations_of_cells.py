"""Each protection of several cells has a contract test that fails without it."""

from __future__ import annotations

import pytest
import redis.asyncio

from tests.contract import test_cells
from tests.contract.mutations import RED, Mutation, Test, edited
from tests.contract.worlds import World

MUTATIONS: dict[str, tuple[Mutation, Test]] = {
    "accept: the cells in force are not looked at": (
        edited("accept", ("if seen > cells then", "if false then")),
        lambda world, connection, url: test_cells.test_a_process_that_knows_fewer_cells_stores_nothing(
            test_cells.on_redis(connection)
        ),
    ),
    "accept: more cells in force are forgotten": (
        edited("accept", ("if cells > seen then", "if false then")),
        lambda world, connection, url: test_cells.test_a_process_that_knows_fewer_cells_stores_nothing(
            test_cells.on_redis(connection)
        ),
    ),
    "accept: what another cell suppressed is sent": (
        edited("accept", ("stopped[tonumber(i)] = true end", "end")),
        lambda world, connection, url: test_cells.test_what_the_counting_cell_suppressed_is_suppressed(
            test_cells.on_redis(connection)
        ),
    ),
    "known: a question is no fence": (
        edited("known", ("  raise(KEYS[1], KEYS[2], ARGV[1])", "")),
        lambda world, connection, url: test_cells.test_of_a_question_and_an_accept_exactly_one_wins(connection, url),
    ),
    "known: the time of a number of cells moves": (
        edited(
            "known",
            ("if redis.call('HEXISTS', cells, 'since:' .. n) == 0 then", "if true then"),
            ("if tonumber(ARGV[1]) > reply[1] then", "if true then"),
        ),
        lambda world, connection, url: test_cells.test_the_time_of_a_number_of_cells_is_kept(
            test_cells.on_redis(connection)
        ),
    ),
    "charge: its answer is not kept": (
        edited("charge", ("redis.call('SET', KEYS[1], ARGV[1]", "redis.call('SET', KEYS[1], 'x' .. ARGV[1]")),
        lambda world, connection, url: test_cells.test_a_repeated_charge_has_the_same_answer_and_counts_once(
            test_cells.on_redis(connection)
        ),
    ),
    "charge: any body has the kept answer": (
        edited("charge", ("string.sub(kept, 1, #ARGV[1] + 1) == ARGV[1] .. '|'", "true")),
        lambda world, connection, url: test_cells.test_another_body_is_charged_again(test_cells.on_redis(connection)),
    ),
    "charge: messages of a refused trigger count": (
        edited("charge", ("local caps, stopped", "count_caps(#KEYS - 2, 3, 4, now, {}) local caps, stopped")),
        lambda world, connection, url: test_cells.test_a_charge_beyond_the_rate_is_refused_and_counts_no_message(
            test_cells.on_redis(connection)
        ),
    ),
    "join: a cell joins twice": (
        edited("join", ("== 1 then return 'OK' end", "== 2 then return 'OK' end")),
        lambda world, connection, url: test_cells.test_a_cell_joins_once(test_cells.on_redis(connection)),
    ),
    "join: what was accepted before is not looked at": (
        edited("join", ("redis.call('HEXISTS', KEYS[2], 'n')", "0")),
        lambda world, connection, url: test_cells.test_an_installation_that_accepted_before_began_alone(
            test_cells.on_redis(connection)
        ),
    ),
    "join: a supervisor's term is not looked at": (
        edited("join", ("redis.call('EXISTS', KEYS[3])", "0")),
        lambda world, connection, url: test_cells.test_an_installation_whose_supervisor_had_a_term_began_alone(
            test_cells.on_redis(connection)
        ),
    ),
    "join: a higher number is lowered": (
        edited("join", ("if tonumber(n) > seen then", "if true then")),
        lambda world, connection, url: test_cells.test_an_accept_before_the_cell_has_joined_keeps_its_number(
            test_cells.on_redis(connection)
        ),
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
async def test_a_protection_taken_away_is_noticed(
    name: str, redis_world: World, redis_client: redis.asyncio.Redis, redis_url: str
) -> None:
    """With one protection removed, the contract test that belongs to it fails."""
    mutation, test = MUTATIONS[name]
    with mutation(), pytest.raises(RED):
        await test(redis_world, redis_client, redis_url)
