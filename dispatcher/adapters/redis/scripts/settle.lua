-- The vendor accepted it: the final word. (Prologue: _fence.lua, _finish.lua)
-- KEYS[4] delayed   ARGV[7] state (settled | cancelled)   ARGV[8] retention ms   ARGV[9] vendor   Reply OK or LOST.
redis.call('DEL', KEYS[3])
redis.call('HSET', rec, i .. '.st', ARGV[7], i .. '.h', history, i .. '.n', ARGV[5], i .. '.vendor', ARGV[9])
redis.call('HDEL', rec, i .. '.lane', i .. '.eid', i .. '.tr', i .. '.ep')
wake(KEYS[4])
finish(rec, ARGV[8])
leave()
return 'OK'
