-- Prologue of backlog and depths: the oldest entry that waits in a tenant's queue of a lane (_enqueue.lua), or nil. Where
-- more than LOOKED_AT tenants wait, only these are looked at, half from each end of the turns: the bound of its cost.
local LOOKED_AT = 256

local function oldest_waiting(lane)
  local turns = lane .. ':turns'
  local kind = redis.call('TYPE', turns).ok
  if kind ~= 'list' then return nil end
  local rows = redis.call('LRANGE', turns, 0, LOOKED_AT / 2 - 1)
  for _, row in ipairs(redis.call('LRANGE', turns, math.max(LOOKED_AT / 2, redis.call('LLEN', turns) - LOOKED_AT / 2), -1)) do
    rows[#rows + 1] = row
  end
  local oldest, came
  for _, row in ipairs(rows) do
    local first = redis.pcall('XRANGE', lane .. ':of:' .. string.match(row, '^%d+ (.*)$'), '-', '+', 'COUNT', 1)
    if not first.err and #first > 0 then
      local ms = tonumber(string.match(first[1][1], '^%d+'))
      if not came or ms < came then oldest, came = first[1], ms end
    end
  end
  return oldest
end
