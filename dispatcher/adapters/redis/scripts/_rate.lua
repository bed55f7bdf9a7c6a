-- Prologue of accept: a tenant's accept rate, one number in a key: the time, in ms, at which everything granted is paid for.
-- The rule is `grant` of core/limits/accept_rate.py.
-- Answers whether one more is granted, the number to be kept, or nil where it stays, and {how many more may come, ms until
-- the next, ms until all}.
local function grant(key, rate, now)
  local each, burst = string.match(rate, '^(%S+) (%d+)$')
  each = tonumber(each)
  local span, kept = burst * each, tonumber(redis.call('GET', key) or 0)
  local debt = math.min(math.max(kept - now, 0), span)
  local room = math.floor((span - debt + 0.001) / each)
  local granted = room >= 1
  if granted then
    debt, room = debt + each, room - 1
  end
  local wait = room >= 1 and 0 or math.max(1, math.ceil(debt + each - span - 0.001))
  local changed = granted or kept - now > span
  return granted, changed and now + debt, {room, wait, math.ceil(debt - 0.001)}
end
