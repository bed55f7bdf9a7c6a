-- Read only: held notifications whose deadline has passed, by delay time (core/store/delay_time.py).
-- KEYS[1] held  [2] clock   ARGV[1] at most   Reply {id…}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + (redis.call('HGET', KEYS[2], 'ahead') or 0)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
