-- Read only: the depth of every mailbox, lane by lane. (Prologue: _oldest.lua)
-- KEYS[1] mailboxes   ARGV[1] prefix of lanes   ARGV[2..] priorities
-- Reply {now ms, {mailbox, {entries, claimed, ms when the oldest entry came or 0} per priority}…}.
-- A key of another type counts as empty: it must not hide the other lanes.
local t = redis.call('TIME')
local function length(stream)
  local n = redis.pcall('XLEN', stream)
  return type(n) == 'number' and n or 0
end
local function claimed(stream)
  local pending = redis.pcall('XPENDING', stream, 'g')
  return pending.err and 0 or pending[1]
end
local function came(entry)
  return entry and tonumber(string.match(entry[1], '^%d+'))
end
local found = {t[1] * 1000 + math.floor(t[2] / 1000)}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local row = {name}
  for n = 2, #ARGV do
    local lane = ARGV[1] .. name .. ':' .. ARGV[n]
    local waits = redis.pcall('GET', lane .. ':waits')
    local first = redis.pcall('XRANGE', lane, '-', '+', 'COUNT', 1)
    local oldest = not first.err and came(first[1]) or 0
    if type(waits) == 'string' then
      local waiting = came(oldest_waiting(lane)) or 0
      if waiting > 0 and (oldest == 0 or waiting < oldest) then oldest = waiting end
    end
    local entries = length(lane) + length(lane .. ':fair') + (type(waits) == 'string' and tonumber(waits) or 0)
    row[#row + 1] = {entries, claimed(lane) + claimed(lane .. ':fair'), oldest}
  end
  found[#found + 1] = row
end
return found
