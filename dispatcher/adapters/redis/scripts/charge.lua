-- Count a trigger of another cell for its tenant's rate and its recipients' caps. (Prologue: _caps.lua, _rate.lua)
-- KEYS[1] the answer that is kept   KEYS[2] tenant's accept rate   KEYS[3..] one list per cap
-- ARGV[1] body hash  [2] '' or the rate: ms each, burst  [3] for how many ms the answer is kept
-- ARGV[4..] index, most, window ms per cap
-- Reply {'OK', '<quota>|<suppressed>'}: numbers separated by spaces; quota '' without a rate. The same trigger again gets
-- the same answer while it is kept, and counts nothing. {'LIMITED', quota}: beyond the rate, and nothing is kept.
-- An error leaves at most counts without an answer: a limit is reached one early. No DEL in front: a full Redis refuses.
local kept = redis.call('GET', KEYS[1])
if kept and string.sub(kept, 1, #ARGV[1] + 1) == ARGV[1] .. '|' then return {'OK', string.sub(kept, #ARGV[1] + 2)} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local caps, stopped, suppressed, paid, quota = #KEYS - 2, {}, {}, nil, {}
if ARGV[2] ~= '' then
  local granted
  granted, paid, quota = grant(KEYS[2], ARGV[2], now)
  if not granted then
    if paid then redis.call('SET', KEYS[2], string.format('%.3f', paid), 'PX', quota[3] + 1000) end
    return {'LIMITED', quota}
  end
end
if caps > 0 then
  stopped = without_room(caps, 3, 4, now)
  for i in pairs(stopped) do suppressed[#suppressed + 1] = string.format('%d', i) end
  count_caps(caps, 3, 4, now, stopped)
end
if paid then redis.call('SET', KEYS[2], string.format('%.3f', paid), 'PX', quota[3] + 1000) end
local answer = table.concat(quota, ' ') .. '|' .. table.concat(suppressed, ' ')
redis.call('SET', KEYS[1], ARGV[1] .. '|' .. answer, 'PX', ARGV[3])
return {'OK', answer}
