-- An incarnation that was silent asks whether it lives; if so, a verdict reached before this is void: see bury.
-- KEYS[1] actors   KEYS[2] processes   KEYS[3] never exists   ARGV[1] incarnation
-- Reply LOST when it is not live any more; else OK.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= 'live' then return 'LOST' end
local count, process = string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '', '^(%d+)(.*)$')
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[2], ARGV[1], string.format('%d', (count or 0) + 1) .. (process or ' 0 '))
return 'OK'
