-- A vendor refuses by a receipt what it had accepted, or what was held: into `due`, with its content. (Prologue: _delay.lua)
-- A fallback that was not needed stands by again: the one sent again may still fail (core/life/fallback.py).
-- KEYS[1] record  [2] kept content  [3] never exists  [4] due  [5] held  [6] clock  [7] delayed
-- ARGV[1] notification id  [2] index  [3] due in, ms  [4] tried, space separated
-- [5] state, [6] attempts and [7] generation that it was read with  [8] look at the fallback again in, ms
-- Reply OK or GONE: it has changed since, its fallback has begun, or its content is gone. So one refusal reopens it once.
local rec, i = KEYS[1], ARGV[2]
local f = redis.call('HMGET', rec, i .. '.st', i .. '.n', i .. '.gen', i .. '.fb', 'd')
if f[1] ~= ARGV[5] or (f[2] or '0') ~= ARGV[6] or (f[3] or '0') ~= ARGV[7] then return 'GONE' end
local j, skipped = f[4] and string.match(f[4], '%.(%d+)$'), false
if j then
  local other = redis.call('HGET', rec, j .. '.st')
  if other and other ~= 'standby' and other ~= 'skipped' then return 'GONE' end
  skipped = other == 'skipped'
end
local content = f[5] or redis.call('GET', KEYS[2])
if not content then return 'GONE' end
redis.call('DEL', KEYS[3])
redis.call('ZADD', KEYS[4], delay_time(KEYS[6], 0) + ARGV[3], ARGV[1])
if skipped then
  local t, ends = redis.call('TIME'), redis.call('HMGET', rec, j .. '.fa', i .. '.ex', 'x')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local look = math.max(tonumber(ends[1] or (ends[2] or ends[3]) + ARGV[8]), now + ARGV[8])
  redis.call('ZADD', KEYS[7], string.format('%.0f', look), f[4])
  redis.call('HSET', rec, j .. '.st', 'standby')
  redis.call('HDEL', rec, j .. '.r')
  redis.call('HINCRBY', rec, 'open', 1)
end
redis.call('HSET', rec, i .. '.st', 'due', i .. '.tr', ARGV[4], 'd', content)
redis.call('HDEL', rec, i .. '.r', i .. '.rc')
redis.call('HINCRBY', rec, i .. '.ro', 1) -- words about earlier calls count no more
if f[1] == 'settled' then
  redis.call('HINCRBY', rec, 'open', 1)
  redis.call('PERSIST', rec)
end
redis.call('ZREM', KEYS[5], ARGV[1])
return 'OK'
