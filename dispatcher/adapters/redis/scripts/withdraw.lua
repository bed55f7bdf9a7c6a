-- Remove a notification that nobody has claimed: cancel, expiry, a late success, a receipt. (Prologue: _finish.lua)
-- KEYS[1] record  [2] lane, or queue of its tenant (_enqueue.lua), or as [3] when not queued  [3] never exists  [4] due  [5] delayed  [6] held  [7] dead letters  [8] kept content
-- ARGV[1] notification id  [2] index  [3] to: cancelled | settled | dead  [4] reason  [5] retention ms  [6] now ms
-- [7] only in this state, or ''  [8] mark of the call that a vendor's word is about, or ''  [9] line of history, or ''
-- [10] its vendor  [11] for how many ms the content is kept for a refusal by receipt
-- Reply {'OK'}, {'CLAIMED'}: too late, somebody has it; {'STATE', state}: ended; {'STATE', 'moved'}: to another lane
-- since the caller looked.
local rec, nid, i, to = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local f = redis.call('HMGET', rec, i .. '.st', i .. '.lane', i .. '.eid', i .. '.fb', i .. '.gen', i .. '.ro', i .. '.h')
local st = f[1]
if not st then
  for n = 4, 6 do redis.call('ZREM', KEYS[n], nid) end -- without a record it would be read as due for ever
  return {'STATE', 'absent'}
end
if ARGV[7] ~= '' and st ~= ARGV[7] then return {'STATE', st} end
if ARGV[8] ~= '' and ARGV[8] ~= (f[5] or '0') .. '.' .. (f[6] or '0') then return {'STATE', st} end
if st == 'queued' or st == 'started' then
  if f[2] ~= KEYS[2] then return {'STATE', 'moved'} end
  local p = redis.pcall('XPENDING', KEYS[2], 'g', f[3], f[3], 1)
  if not p.err and #p > 0 then return {'CLAIMED'} end
elseif st ~= 'due' and st ~= 'delayed' and st ~= 'held' and st ~= 'standby' then
  return {'STATE', st}
end
redis.call('DEL', KEYS[3])
if to == 'dead' then
  redis.call('ZADD', KEYS[7], ARGV[6], nid)
  redis.call('HSET', rec, i .. '.st', 'dead', i .. '.r', ARGV[4])
else
  redis.call('HSET', rec, i .. '.st', to, i .. '.r', ARGV[4])
  if ARGV[9] ~= '' then
    local content = redis.call('HGET', rec, 'd')
    if content then redis.call('SET', KEYS[8], content, 'PX', ARGV[11]) end
    local before = f[7] and f[7] ~= '' and f[7] .. ',' or ''
    redis.call('HSET', rec, i .. '.h', before .. ARGV[9], i .. '.vendor', ARGV[10])
  end
  finish(rec, ARGV[5])
end
if f[4] then redis.call('ZADD', KEYS[5], 'XX', ARGV[6], f[4]) end -- its fallback is looked at now
if st == 'queued' or st == 'started' then
  local lane = string.match(KEYS[2], '^(.-):of:')
  if redis.call('XDEL', KEYS[2], f[3]) == 1 and lane then redis.call('DECR', lane .. ':waits') end
end
redis.call('ZREM', KEYS[4], nid)
redis.call('ZREM', KEYS[5], nid)
redis.call('ZREM', KEYS[6], nid)
return {'OK'}
