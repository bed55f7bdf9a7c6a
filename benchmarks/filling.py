"""Fills a store quickly, with copies of what the store itself has written: a million notifications in seconds.

A trigger is accepted by the store's own script, and settled by it where finished ones are wanted. Then Redis copies its
record and its mailbox entries, only ids and keys differing, in one script call per `PAGE` copies. Nothing here knows
what is in a record: whatever the store writes is what is copied.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.script_calls import Client
from dispatcher.core.life.notification import Lane

PAGE = 2000

COPY = """
-- KEYS[1] record to copy   KEYS[2..] the lane of each of its notifications, in order; none: it is finished
-- ARGV[1] prefix of records   ARGV[2] first number   ARGV[3] last number   ARGV[4] how an id is made of a number
-- ARGV[5] a text of letters and digits in its values   ARGV[6] how what replaces it is made of a number; or both empty
local original, ttl = redis.call('HGETALL', KEYS[1]), redis.call('PTTL', KEYS[1])
local fields, at = {}, {}
for n = 1, #original do fields[n] = original[n] end
for n = 1, #original, 2 do at[original[n]] = n + 1 end
for number = tonumber(ARGV[2]), tonumber(ARGV[3]) do
  local id = string.format(ARGV[4], number)
  if ARGV[5] ~= '' then
    local token = string.format(ARGV[6], number)
    for n = 2, #original, 2 do fields[n] = string.gsub(original[n], ARGV[5], token) end
  end
  for k = 2, #KEYS do
    local i = k - 2
    fields[at[i .. '.eid']] = redis.call('XADD', KEYS[k], '*', 'n', id .. '.' .. i)
  end
  redis.call('HSET', ARGV[1] .. id, unpack(fields))
  if ttl > 0 then redis.call('PEXPIRE', ARGV[1] .. id, ttl) end
end
"""


@contextlib.asynccontextmanager
async def without_fsync(connection: Client) -> AsyncIterator[None]:
    """Nobody waits for the disk meanwhile; afterwards everything is on it."""
    await connection.config_set("appendfsync", "no")
    try:
        yield
    finally:
        await connection.config_set("appendfsync", "always")


async def copy(
    connection: Client,
    trigger_id: str,
    lanes: Sequence[Lane],
    first: int,
    *,
    count: int,
    form: str,
    token: tuple[str, str] = ("", ""),
) -> None:
    """Store `count` more triggers like `trigger_id`, numbered from `first`; `form` makes an id of a number.

    `lanes`: where its notifications wait, in order; none for one that is finished. `token`: letters and digits in what
    the record holds, as an order number, and the form, equally long, of what the copies have there.
    """
    keys, script = Keys(), connection.register_script(COPY)
    names = [keys.record(trigger_id), *(keys.lane(lane) for lane in lanes)]
    async with without_fsync(connection):
        for start in range(first, first + count, PAGE):
            last = min(start + PAGE, first + count) - 1
            await script(keys=names, args=[keys.record_prefix, start, last, form, *token])
