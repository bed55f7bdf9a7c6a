-- Keep what a receipt said about a notification whose fallback waits for it, and let the fallback be looked at.
-- KEYS[1] record  [2] never exists  [3] delayed   ARGV[1] index  [2] delivered | undelivered  [3] now, ms
-- Reply OK, or NONE: nobody waits for it, or the receipt is about an earlier attempt.
local f = redis.call('HMGET', KEYS[1], ARGV[1] .. '.st', ARGV[1] .. '.fb')
if not f[2] or (ARGV[2] == 'undelivered' and f[1] ~= 'settled') then return 'NONE' end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1] .. '.rc', ARGV[2])
redis.call('ZADD', KEYS[3], 'XX', ARGV[3], f[2])
return 'OK'
