-- Keep what a vendor's breaker is, for a successor of the actor that says so.
-- KEYS[1] breakers  [2] never exists   ARGV[1] vendor  [2] JSON
-- Reply OK. Stored as `<ms of writing> <JSON>`: an age needs one clock, and this is Redis's.
local t = redis.call('TIME')
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %s', t[1] * 1000 + math.floor(t[2] / 1000), ARGV[2]))
return 'OK'
