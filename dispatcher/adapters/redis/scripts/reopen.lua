-- A vendor refuses by a receipt what it had accepted, or what was held: into `due`, with its content. (Prologue: _delay.lua)
-- KEYS[1] record  [2] kept content  [3] never exists  [4] due  [5] held  [6] clock
-- ARGV[1] notification id  [2] index  [3] due in, ms  [4] tried, space separated
-- [5] state, [6] attempts and [7] generation that it was read with
-- Reply OK or GONE: it has changed since, its fallback has begun, or its content is gone. So one refusal reopens it once.
local rec, i = KEYS[1], ARGV[2]
local f = redis.call('HMGET', rec, i .. '.st', i .. '.n', i .. '.gen', i .. '.fb', 'd')
if f[1] ~= ARGV[5] or (f[2] or '0') ~= ARGV[6] or (f[3] or '0') ~= ARGV[7] then return 'GONE' end
if f[4] then
  local other = redis.call('HGET', rec, string.match(f[4], '%.(%d+)$') .. '.st')
  if other and other ~= 'standby' and other ~= 'skipped' then return 'GONE' end
end
local content = f[5] or redis.call('GET', KEYS[2])
if not content then return 'GONE' end
redis.call('DEL', KEYS[3])
redis.call('ZADD', KEYS[4], delay_time(KEYS[6], 0) + ARGV[3], ARGV[1])
redis.call('HSET', rec, i .. '.st', 'due', i .. '.tr', ARGV[4], 'd', content)
redis.call('HDEL', rec, i .. '.r', i .. '.rc')
if f[1] == 'settled' then
  redis.call('HINCRBY', rec, 'open', 1)
  redis.call('PERSIST', rec)
end
redis.call('ZREM', KEYS[5], ARGV[1])
return 'OK'
