-- Prologue of accept, move, promote, redrive: the tail of a mailbox's lane, fair between tenants. A lane without a backlog,
-- and with that of one tenant, is one stream. From DIRECT unclaimed entries on it has an owner, the tenant that came next:
-- its entries go on into the stream. Those of others wait in a queue of their tenant, and `claim` lets all take turns
-- (core/limits/turns.py). A tenant's entries never overtake each other: while it has a queue, it has nothing behind the
-- first `old` entries of the stream, which are claimed before any turn.
--
-- `lane`              stream with group g
-- `lane:owner`        string, `<old> o<tenant>`, or `<old> -` once the owner's are claimed; exists while anybody has a turn
-- `lane:turns`        list, `<left of its turn, 0: not begun> <tenant>`, the next first
-- `lane:of:<tenant>`  stream without a group; exists, be it empty, exactly while that tenant is in `turns`
-- `lane:waits`        string, how many wait in these queues
-- `lane:fair`         stream with group g: what was claimed from these queues
local DIRECT = 32

-- Answers the stream and the entry's id: `lane` and `eid` of its record. The turn goes before the entry: an error between
-- them leaves a turn for nothing, which claim drops.
local function enqueue(lane, tenant, nid)
  local owner = redis.call('GET', lane .. ':owner')
  if not owner then
    local unclaimed = redis.call('XLEN', lane)
    if unclaimed >= DIRECT then
      local pending = redis.pcall('XPENDING', lane, 'g')
      if not pending.err then unclaimed = unclaimed - pending[1] end
    end
    if unclaimed >= DIRECT then
      redis.call('SET', lane .. ':owner', string.format('%d', unclaimed) .. ' o' .. tenant)
      redis.call('RPUSH', lane .. ':turns', '0 ' .. tenant)
    end
  elseif string.match(owner, ' (.*)$') ~= 'o' .. tenant then
    local queue = lane .. ':of:' .. tenant
    if redis.call('EXISTS', queue) == 0 then redis.call('RPUSH', lane .. ':turns', '0 ' .. tenant) end
    local eid = redis.call('XADD', queue, '*', 'n', nid)
    redis.call('INCR', lane .. ':waits')
    return queue, eid
  end
  return lane, redis.call('XADD', lane, '*', 'n', nid)
end
