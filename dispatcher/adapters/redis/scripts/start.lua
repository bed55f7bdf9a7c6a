-- The durable start mark of `hold`: from here on "pending and started" means "maybe sent".
-- KEYS[1] lane   KEYS[2] record   KEYS[3] never exists   KEYS[4] actors   ARGV[1] entry id  [2] me  [3] index
-- Reply OK: send. LOST: not mine, or I am not live; send nothing. Asking again gives the same answer.
if redis.call('HGET', KEYS[4], ARGV[2]) ~= 'live' then return 'LOST' end
local mine = redis.pcall('XPENDING', KEYS[1], 'g', ARGV[1], ARGV[1], 1, ARGV[2])
if mine.err and not string.find(mine.err, 'NOGROUP', 1, true) then return mine end
if mine.err or #mine == 0 then return 'LOST' end
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[2], ARGV[3] .. '.st', 'started')
return 'OK'
