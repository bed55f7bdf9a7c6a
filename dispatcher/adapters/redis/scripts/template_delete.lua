-- Deletes a template: no trigger means it from now on. What was accepted before finds its version for a while.
--
-- Keys:  as template_put.lua   Args: 1 stored name   2 how long its versions are kept, ms
-- Reply: 1, or 0: there is no such template. A repeat changes nothing.
--
-- The row of the owner is written before the name goes: its version must be known to whoever makes the name again.

local latest = redis.call('HGET', KEYS[2], ARGV[1])
if not latest then return 0 end
local t = redis.call('TIME')
local ends = t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[2])
local bytes = 0
for _, content in ipairs(redis.call('HVALS', KEYS[1])) do bytes = bytes + #content end
redis.call('HSET', KEYS[4], ARGV[1], string.format('%d %.0f %d', bytes, ends, latest))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
