-- Decide about a fallback, here and nowhere else; the rules: core/life/fallback.py. (Prologue: _finish.lua)
-- KEYS[1] delayed  [2] record  [3] never exists  [4] due
-- ARGV[1] notification id  [2] the score it was read with  [3] index  [4] retention ms  [5] look again in, ms
-- [6] look at a held one again in, ms
-- Reply BEGUN: it is `delayed` until now, and a first that waited is withdrawn. SKIPPED: it has ended. WAITS: look again.
-- GONE: another decided, or it was withdrawn. A second caller changes nothing.
local delayed, rec, nid, i = KEYS[1], KEYS[2], ARGV[1], ARGV[3]
local score = redis.call('ZSCORE', delayed, nid)
if not score or score ~= ARGV[2] then return 'GONE' end
local mine = redis.call('HMGET', rec, i .. '.st', i .. '.fo', i .. '.fw', i .. '.fa', i .. '.ft', 'x')
if mine[1] ~= 'standby' then return 'GONE' end
local first, wants, begin, ttl = mine[2], mine[3], mine[4], mine[5]
local f = redis.call('HMGET', rec, first .. '.st', first .. '.lane', first .. '.eid', first .. '.rc', first .. '.ex')
local st, lane, eid, receipt = f[1], f[2], f[3], f[4]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local late = begin and now >= tonumber(begin)
local waits = st == 'due' or st == 'delayed'
if st == 'queued' or st == 'started' then
  local p = redis.pcall('XPENDING', lane, 'g', eid, eid, 1)
  if p.err and not string.find(p.err, 'NOGROUP', 1, true) then return p end
  waits = p.err ~= nil or #p == 0 -- else an actor has it
end
local fate = 'WAITS'
if st == 'settled' and (wants ~= 'delivered' or receipt == 'delivered') then fate = 'SKIPPED'
elseif st == 'settled' and (late or receipt == 'undelivered') then fate = 'BEGUN'
elseif st == 'dead' then fate = 'BEGUN'
elseif not st or st == 'cancelled' or st == 'suppressed' or st == 'skipped' then fate = 'SKIPPED'
elseif late and waits then fate = 'BEGUN' end
redis.call('DEL', KEYS[3])
if fate == 'SKIPPED' then
  redis.call('HSET', rec, i .. '.st', 'skipped', i .. '.r', st == 'settled' and 'not_needed' or (st or 'absent'))
  finish(rec, ARGV[4])
  redis.call('ZREM', delayed, nid)
elseif fate == 'BEGUN' then
  local ends = string.format('%.0f', now + ttl)
  redis.call('ZADD', delayed, now, nid)
  if waits then
    redis.call('HSET', rec, i .. '.st', 'delayed', i .. '.ex', ends, first .. '.st', 'cancelled', first .. '.r', 'fallback')
    redis.call('HINCRBY', rec, 'open', -1) -- never the last: the fallback is open
    if st == 'queued' or st == 'started' then
      local queue_of = string.match(lane, '^(.-):of:') -- it waited for its tenant's turn: _enqueue.lua
      if redis.call('XDEL', lane, eid) == 1 and queue_of then redis.call('DECR', queue_of .. ':waits') end
    end
    local other = string.match(nid, '^(.*)%.%d+$') .. '.' .. first
    redis.call('ZREM', KEYS[4], other)
    redis.call('ZREM', delayed, other)
  else
    redis.call('HSET', rec, i .. '.st', 'delayed', i .. '.ex', ends)
  end
else
  local again = st == 'held' and now + ARGV[6]
    or math.max(tonumber(begin or (f[5] or mine[6]) + ARGV[5]), now + ARGV[5])
  redis.call('ZADD', delayed, string.format('%.0f', again), nid)
end
return fate
