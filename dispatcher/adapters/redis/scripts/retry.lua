-- Try again later: into `due`, scored by its time. (Prologue: _delay.lua, _fence.lua)
-- KEYS[4] due  [5] clock   ARGV[7] notification id   ARGV[8] due in, ms   ARGV[9] tried, space separated   Reply OK or LOST.
redis.call('DEL', KEYS[3])
redis.call('ZADD', KEYS[4], delay_time(KEYS[5], 0) + ARGV[8], ARGV[7])
redis.call('HSET', rec, i .. '.st', 'due', i .. '.h', history, i .. '.n', ARGV[5], i .. '.tr', ARGV[9])
leave()
return 'OK'
