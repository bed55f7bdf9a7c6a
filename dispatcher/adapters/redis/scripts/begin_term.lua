-- A supervisor takes office: its term fences every earlier one.
-- KEYS[1] plan  [2] never exists   Reply {term, epoch, plan JSON or ''}.
redis.call('DEL', KEYS[2])
local term = redis.call('HINCRBY', KEYS[1], 'term', 1)
local f = redis.call('HMGET', KEYS[1], 'epoch', 'plan')
return {term, tonumber(f[1] or '0'), f[2] or ''}
