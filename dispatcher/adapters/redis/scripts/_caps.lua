-- Prologue of accept: recipient caps. A count is a list of the times at which the last ones were let through, newest
-- last; the rule is `has_room` of core/accepting/caps.py. The caps of one notification follow each other.
-- KEYS[first + n] a cap's list   ARGV[at + 3n] index of its notification, [+ 1] most, [+ 2] window ms; n from 0

-- Which notifications have no room: {[index] = true}. Reads only; siblings to one recipient see each other.
local function without_room(caps, first, at, now)
  local stopped, added, n = {}, {}, 0
  while n < caps do
    local i, from = tonumber(ARGV[at + 3 * n]), n
    while n < caps and tonumber(ARGV[at + 3 * n]) == i do
      local key, most, per = KEYS[first + n], tonumber(ARGV[at + 3 * n + 1]), tonumber(ARGV[at + 3 * n + 2])
      local mine = added[key] or 0
      local oldest = mine < most and redis.call('LINDEX', key, mine - most)
      if mine >= most or (oldest and tonumber(oldest) > now - per) then stopped[i] = true end
      n = n + 1
    end
    if not stopped[i] then
      for k = from, n - 1 do added[KEYS[first + k]] = (added[KEYS[first + k]] or 0) + 1 end
    end
  end
  return stopped
end

-- Count those that are let through. RPUSH first: a full Redis refuses it, and would not refuse LTRIM.
local function count_caps(caps, first, at, now, stopped)
  for n = 0, caps - 1 do
    if not stopped[tonumber(ARGV[at + 3 * n])] then
      redis.call('RPUSH', KEYS[first + n], now)
      redis.call('LTRIM', KEYS[first + n], -tonumber(ARGV[at + 3 * n + 1]), -1)
      redis.call('PEXPIRE', KEYS[first + n], ARGV[at + 3 * n + 2])
    end
  end
end
