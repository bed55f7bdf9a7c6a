-- Maybe sent, under `hold`: out of the mailbox, waiting for proof until its deadline. (Prologue: _delay.lua, _fence.lua)
-- KEYS[4] held  [5] clock   ARGV[7] notification id   ARGV[8] deadline in, ms   Reply OK or LOST.
redis.call('DEL', KEYS[3])
redis.call('ZADD', KEYS[4], delay_time(KEYS[5], 0) + ARGV[8], ARGV[7])
redis.call('HSET', rec, i .. '.st', 'held', i .. '.h', history, i .. '.n', ARGV[5])
leave()
return 'OK'
