-- Hand a notification to another mailbox, or to the tail of its own. (Prologue: _fence.lua, _enqueue.lua)
-- KEYS[4] destination lane   KEYS[5] set of mailboxes
-- ARGV[7] notification id   ARGV[8] mailbox   ARGV[9] tried, space separated   ARGV[10] plan epoch of a move without attempt
-- ARGV[11] tenant
-- Reply OK or LOST. `queued` also clears the start mark of `hold`.
redis.call('DEL', KEYS[3])
if redis.call('SISMEMBER', KEYS[5], ARGV[8]) == 0 then redis.call('SADD', KEYS[5], ARGV[8]) end
local stream, eid = enqueue(KEYS[4], ARGV[11], ARGV[7])
redis.call('HSET', rec, i .. '.st', 'queued', i .. '.lane', stream, i .. '.eid', eid, i .. '.vendor', ARGV[8],
  i .. '.h', history, i .. '.n', ARGV[5], i .. '.tr', ARGV[9], i .. '.ep', ARGV[10])
leave()
return 'OK'
