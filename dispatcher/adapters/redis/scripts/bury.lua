-- Mark incarnations dead, by the supervisor (its term is checked), or stopped, by an actor of itself (term '').
-- KEYS[1] actors   KEYS[2] plan   KEYS[3] never exists
-- ARGV[1] supervisor's term or ''   ARGV[2] dead | stopped   ARGV[3..] incarnations
-- Reply STALE when another supervisor has begun a later term; else OK. A dead one stays listed until `take` finds nothing.
if ARGV[1] ~= '' and redis.call('HGET', KEYS[2], 'term') ~= ARGV[1] then return 'STALE' end
redis.call('DEL', KEYS[3])
for n = 3, #ARGV do redis.call('HSET', KEYS[1], ARGV[n], ARGV[2]) end
return 'OK'
