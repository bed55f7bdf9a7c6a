-- Deletes a template: no trigger means it from now on. What was accepted before finds its version for a while,
-- and what waits for its `send_at` finds it whenever that is.
--
-- Keys:  as template_put.lua   Args: 1 stored name   2 how long its versions are kept, ms
-- Reply: 1, or 0: there is no such template. A repeat changes nothing.
--
-- The row of the owner is written before the name goes: its version must be known to whoever makes the name again.

local latest = redis.call('HGET', KEYS[2], ARGV[1])
if not latest then return 0 end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local needed = tonumber(redis.call('HGET', KEYS[1], '#until') or 0)
local ends = math.max(now, needed) + tonumber(ARGV[2])
local bytes = 0
local fields = redis.call('HGETALL', KEYS[1])
for n = 1, #fields, 2 do
  if string.sub(fields[n], 1, 1) ~= '#' then bytes = bytes + #fields[n + 1] end
end
redis.call('HSET', KEYS[4], ARGV[1], string.format('%d %.0f %d', bytes, ends, latest))
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', ends))
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
