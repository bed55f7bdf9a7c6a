-- Give up a dead letter for good. (Prologue: _finish.lua)
-- KEYS[1] dead letters  [2] record  [3] never exists   ARGV[1] notification id  [2] index  [3] retention ms
-- ARGV[4] time of death it was read with   Reply OK or GONE: no dead letter, or it died again meanwhile.
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or -1) ~= tonumber(ARGV[4]) then return 'GONE' end
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[2], ARGV[2] .. '.st', 'cancelled', ARGV[2] .. '.r', 'discarded')
finish(KEYS[2], ARGV[3])
redis.call('ZREM', KEYS[1], ARGV[1])
return 'OK'
