"""Fills a store quickly, with copies of what the store itself has written: a million notifications in seconds.

The store's own script accepts one trigger, and settles it if finished notifications are wanted. Then Redis copies the
trigger's record and its mailbox entries. Only ids and keys differ. One script call makes `PAGE` copies. This module
does not know what a record contains, so it copies whatever the store writes.
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
    """Turn fsync off inside the `with` block, so that nothing waits for the disk. At the end it is `always` again."""
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
    """Store `count` copies of the trigger `trigger_id`. The copies are numbered, and the first number is `first`.

    `form` is a format string that makes the id of a copy from its number. `lanes` names the lane in which each
    notification of the trigger waits, in the order of the notifications. A finished trigger has no lanes. `token` is a
    pair of a text and a format string. The text, such as an order number, stands in the record of the trigger. In the
    record of a copy it is replaced by what the format string makes from the copy's number. The replacement must have
    the same length as the text.
    """
    keys, script = Keys(), connection.register_script(COPY)
    names = [keys.record(trigger_id), *(keys.lane(lane) for lane in lanes)]
    async with without_fsync(connection):
        for start in range(first, first + count, PAGE):
            last = min(start + PAGE, first + count) - 1
            await script(keys=names, args=[keys.record_prefix, start, last, form, *token])
