-- Put a plan in force, unless a later supervisor has begun its term.
-- KEYS[1] plan  [2] history  [3] never exists   ARGV[1] term  [2] epoch  [3] plan JSON  [4] channel  [5] history kept
-- Reply OK or STALE (exit: another supervisor is in office).
if redis.call('HGET', KEYS[1], 'term') ~= ARGV[1] then return 'STALE' end
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'plan', ARGV[3])
redis.call('LPUSH', KEYS[2], ARGV[3])
redis.call('LTRIM', KEYS[2], 0, ARGV[5] - 1)
redis.call('PUBLISH', ARGV[4], ARGV[3])
return 'OK'
