-- Begin an incarnation: live from here on, under a name that was never used before. The number alone would not do: a
-- store that went back, or was emptied, counts again while actors of before still work, and two would act as one.
-- KEYS[1] actors   KEYS[2] counter   KEYS[3] never exists   KEYS[4] processes
-- ARGV[1] vendor   ARGV[2] pid   ARGV[3] node   ARGV[4] tail, random
-- Reply: the incarnation, `vendor/number-tail`.
redis.call('DEL', KEYS[3])
local me = ARGV[1] .. '/' .. redis.call('INCR', KEYS[2]) .. '-' .. ARGV[4]
redis.call('HSET', KEYS[1], me, 'live')
redis.call('HSET', KEYS[4], me, '0 ' .. ARGV[2] .. ' ' .. ARGV[3])
return me
