-- The vendor accepted it: the final word. (Prologue: _fence.lua, _finish.lua)
-- KEYS[4] delayed  [5] kept content   ARGV[7] state (settled | cancelled)   ARGV[8] retention ms   ARGV[9] vendor
-- ARGV[10] for how many ms the content is kept for a refusal by receipt; 0: not at all   Reply OK or LOST.
redis.call('DEL', KEYS[3])
local content = ARGV[10] ~= '0' and redis.call('HGET', rec, 'd')
if content then redis.call('SET', KEYS[5], content, 'PX', ARGV[10]) end
redis.call('HSET', rec, i .. '.st', ARGV[7], i .. '.h', history, i .. '.n', ARGV[5], i .. '.vendor', ARGV[9])
redis.call('HDEL', rec, i .. '.lane', i .. '.eid', i .. '.tr', i .. '.ep')
wake(KEYS[4])
finish(rec, ARGV[8])
leave()
return 'OK'
