-- Begin an incarnation: a number never used again, live from here on.
-- KEYS[1] actors   KEYS[2] counter   KEYS[3] never exists   KEYS[4] processes
-- ARGV[1] vendor   ARGV[2] pid   ARGV[3] node
-- Reply: the incarnation, `vendor/number`.
redis.call('DEL', KEYS[3])
local me = ARGV[1] .. '/' .. redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], me, 'live')
redis.call('HSET', KEYS[4], me, '0 ' .. ARGV[2] .. ' ' .. ARGV[3])
return me
