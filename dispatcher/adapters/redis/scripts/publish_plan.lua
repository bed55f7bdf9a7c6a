-- Put a plan in force, unless a later supervisor has begun its term.
-- KEYS[1] plan  [2] history  [3] never exists   ARGV[1] term  [2] epoch  [3] plan JSON  [4] channel  [5] history kept
-- Reply OK, STALE (exit: another supervisor is in office), or OLD: a later plan is in force, this one comes too late.
local f = redis.call('HMGET', KEYS[1], 'term', 'epoch')
if f[1] ~= ARGV[1] then return 'STALE' end
if f[2] and tonumber(ARGV[2]) <= tonumber(f[2]) then return 'OLD' end
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'plan', ARGV[3])
redis.call('LPUSH', KEYS[2], ARGV[3])
redis.call('LTRIM', KEYS[2], 0, ARGV[5] - 1)
redis.call('PUBLISH', ARGV[4], ARGV[3])
return 'OK'
