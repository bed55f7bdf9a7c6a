-- Claim what is pending for an incarnation that is not live, in my own name. Level-triggered: run each second by every
-- drainer of the mailbox, so what is delivered to the dead after the verdict is found too.
-- A crash counts against all that the dead held, or against the one it had singled out; after a clean stop none counts.
-- KEYS[1] lane  [2] actors  [3] held  [4] never exists  [5] singled out  [6] clock   (Prologue: _delay.lua, _record.lua)
-- ARGV[1] the dead  [2] me  [3] prefix of records  [4] held at most, ms  [5] at most
-- Reply {now ms, lost bodies, {lane, entry id, notification id, record fields}…}; empty when I am not live or it lives.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if redis.call('HGET', KEYS[2], ARGV[2]) ~= 'live' or redis.call('HGET', KEYS[2], ARGV[1]) == 'live' then
  return {now, 0, {}}
end
local pending = redis.pcall('XPENDING', KEYS[1], 'g', '-', '+', ARGV[5], ARGV[1])
if pending.err then return {now, 0, {}} end
local clean = redis.call('HGET', KEYS[2], ARGV[1]) == 'stopped'
local suspect = redis.call('HGET', KEYS[5], ARGV[1])
local got, lost = {}, 0
redis.call('DEL', KEYS[4])
for _, p in ipairs(pending) do
  local id = p[1]
  local entry = redis.call('XRANGE', KEYS[1], id, id)
  if #entry == 0 then
    redis.call('XACK', KEYS[1], 'g', id) -- deleted while pending: an alarm, and on 6.2 it would stay for ever
    lost = lost + 1
  else
    local nid = entry[1][2][2]
    local trigger, i = string.match(nid, '^(.*)%.(%d+)$')
    local rec = ARGV[3] .. trigger
    local state = redis.pcall('HMGET', rec, i .. '.st', i .. '.pol', 'x', i .. '.ex', i .. '.h') -- err: it is no hash
    if state[2] == 'hold' and state[1] == 'started' then
      local expires = state[4] or state[3] or now
      local left = math.max(0, (tonumber(expires) or math.huge) - now) -- of its time to live; damaged: as long as it may
      local line = string.format('[%.0f,"%s","unknown","actor_ended",0,null]', now, string.match(ARGV[1], '^(.*)/'))
      if (state[5] or '') ~= '' then line = state[5] .. ',' .. line end
      redis.call('ZADD', KEYS[3], delay_time(KEYS[6], 0) + math.min(ARGV[4], left), nid)
      redis.call('HSET', rec, i .. '.st', 'held', i .. '.h', line)
      redis.call('XACK', KEYS[1], 'g', id)
      redis.call('XDEL', KEYS[1], id)
    else
      if not clean and (not suspect or suspect == nid) and redis.call('EXISTS', rec) == 1 then
        redis.pcall('HINCRBY', rec, i .. '.cr', 1) -- a damaged count is no reason to stop here
      end
      redis.call('XCLAIM', KEYS[1], 'g', ARGV[2], 0, id, 'JUSTID')
      got[#got + 1] = {KEYS[1], id, nid, fields_of(rec, i)}
    end
  end
end
if #pending == 0 then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], 'g', ARGV[1]) end
return {now, lost, got}
