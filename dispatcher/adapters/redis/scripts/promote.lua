-- Its time has come: from `due` or `delayed` into a mailbox. (Prologue: _enqueue.lua)
-- KEYS[1] due or delayed  [2] record  [3] never exists  [4] lane  [5] set of mailboxes
-- ARGV[1] notification id  [2] the score it was read with  [3] index  [4] mailbox  [5] tenant
-- Reply OK or GONE (another promoted, moved or withdrew it: a second caller changes nothing).
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or score ~= ARGV[2] then return 'GONE' end
redis.call('DEL', KEYS[3])
if redis.call('SISMEMBER', KEYS[5], ARGV[4]) == 0 then redis.call('SADD', KEYS[5], ARGV[4]) end
local stream, eid = enqueue(KEYS[4], ARGV[5], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[3] .. '.st', 'queued', ARGV[3] .. '.lane', stream, ARGV[3] .. '.eid', eid,
  ARGV[3] .. '.vendor', ARGV[4])
redis.call('ZREM', KEYS[1], ARGV[1])
return 'OK'
