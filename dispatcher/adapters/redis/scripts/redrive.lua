-- Try a dead letter again: a new generation with fresh attempts, tried list and time to live. (Prologue: _enqueue.lua)
-- KEYS[1] dead letters  [2] record  [3] never exists  [4] lane  [5] set of mailboxes
-- ARGV[1] notification id  [2] index  [3] mailbox  [4] new expiry, ms  [5] time of death it was read with  [6] tenant
-- [7] new chain, its names separated by spaces, or ''  [8] new version and name of its template, or ''; '' keeps what it has
-- [9] version, digest and name of that template, or ''
-- Reply OK or GONE: it is no dead letter, or died again meanwhile, so a second redrive of one death changes nothing.
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or -1) ~= tonumber(ARGV[5]) then return 'GONE' end
local i = ARGV[2]
redis.call('DEL', KEYS[3])
if redis.call('SISMEMBER', KEYS[5], ARGV[3]) == 0 then redis.call('SADD', KEYS[5], ARGV[3]) end
local stream, eid = enqueue(KEYS[4], ARGV[6], ARGV[1])
redis.call('HSET', KEYS[2], i .. '.st', 'queued', i .. '.lane', stream, i .. '.eid', eid, i .. '.vendor', ARGV[3],
  i .. '.n', 0, i .. '.ex', ARGV[4]) -- not `x`: siblings that wait keep their time
if ARGV[7] ~= '' then redis.call('HSET', KEYS[2], i .. '.ch', ARGV[7]) end
if ARGV[8] ~= '' then redis.call('HSET', KEYS[2], i .. '.tv', ARGV[8], i .. '.td', ARGV[9]) end
redis.call('HDEL', KEYS[2], i .. '.tr', i .. '.r', i .. '.cr', i .. '.ep')
redis.call('HINCRBY', KEYS[2], i .. '.gen', 1)
redis.call('PERSIST', KEYS[2])
redis.call('ZREM', KEYS[1], ARGV[1])
return 'OK'
