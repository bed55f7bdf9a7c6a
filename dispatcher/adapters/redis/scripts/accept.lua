-- Store one trigger: its mailbox entries, then its record. The record is also the idempotency record: a keyed
-- trigger's id is derived from tenant and key.
-- KEYS[1] record   KEYS[2] set of mailboxes   KEYS[3] delayed   KEYS[4] ledger   KEYS[5..] one lane per notification
-- ARGV[1] trigger id  [2] body hash  [3] meta JSON  [4] data JSON  [5] send_at ms or ''  [6] policy  [7] time to expire ms
-- ARGV[8] name of the store's life, should it begin here   ARGV[9..] mailbox name per notification
-- Reply {'OK', life, triggers accepted in it}: stored. REPLAY: the same id and body are there already. CONFLICT: the same id, another body.
-- An error (a full Redis refuses the first write, for there is no DEL in front) leaves at most entries without a
-- record, which claim drops and counts: the caller was not told 202.
local known = redis.call('HGET', KEYS[1], 'hash')
if known then
  if known == ARGV[2] then return 'REPLAY' end
  return 'CONFLICT'
end
local count = #KEYS - 4
local record = {'hash', ARGV[2], 'm', ARGV[3], 'd', ARGV[4], 'open', count, 'x', ARGV[7], 'v', 1}
for n = 1, count do
  local i, lane, mailbox = n - 1, KEYS[4 + n], ARGV[8 + n]
  local nid, eid, state = ARGV[1] .. '.' .. i, '', 'queued'
  if ARGV[5] ~= '' then
    redis.call('ZADD', KEYS[3], ARGV[5], nid)
    state = 'delayed'
  else
    if redis.call('SISMEMBER', KEYS[2], mailbox) == 0 then redis.call('SADD', KEYS[2], mailbox) end
    eid = redis.call('XADD', lane, '*', 'n', nid)
  end
  for _, value in ipairs({i .. '.st', state, i .. '.lane', lane, i .. '.eid', eid, i .. '.vendor', mailbox}) do
    record[#record + 1] = value
  end
  if ARGV[6] == 'hold' then
    record[#record + 1] = i .. '.pol'
    record[#record + 1] = 'hold'
  end
end
local accepted = redis.call('HINCRBY', KEYS[4], 'n', 1)
if accepted == 1 then redis.call('HSET', KEYS[4], 'life', ARGV[8]) end
redis.call('HSET', KEYS[1], unpack(record))
return {'OK', redis.call('HGET', KEYS[4], 'life'), accepted}
