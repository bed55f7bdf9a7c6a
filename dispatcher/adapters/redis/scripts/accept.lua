-- Store one trigger: its mailbox entries, then its record. The record is also the idempotency record: a keyed
-- trigger's id is derived from tenant and key. (Prologue: _caps.lua, _cells.lua, _enqueue.lua, _rate.lua)
-- KEYS[1] record   KEYS[2] set of mailboxes   KEYS[3] delayed   KEYS[4] ledger   KEYS[5] tenant's accept rate
-- KEYS[6] cells   KEYS[7..] one lane per notification; the last ones: one per template version that they are rendered from
-- ARGV[1] trigger id  [2] body hash  [3] meta JSON  [4] data JSON  [5] send_at ms or ''  [6] policy  [7] time to expire ms
-- ARGV[8] name of the store's life, should it begin here   ARGV[9] tenant   ARGV[10] '' or its rate: ms each, burst
-- ARGV[11] how many template versions; the last arguments: of each its number, its digest, and until when the text must
-- be kept if it is deleted, ms (0: no longer than any)
-- ARGV[12] how many cells were in force when this one was chosen, then the indices that its counting cell suppressed
-- ARGV[13..] words per notification: its mailbox, and where it has times of its own also when it is sent, ms (0: now), and
-- when it expires, ms; a fallback (core/life/fallback.py) also the index of the first, what it waits for, when its time
-- comes, ms (0: never), and its time to live, ms
-- Under recipient caps also: KEYS one list per cap; ARGV retention ms, then index, most, window ms per cap. So there are
-- 2 × caps + 1 more arguments than keys beyond the twelve and six, and none more where there is no cap. Where the counting
-- cell suppressed some, there is the retention and no cap.
-- Reply {'OK', life, triggers accepted in it, quota, indices of suppressed ones…}: stored. REPLAY: the same id and body are
-- there already. CONFLICT: the same id, another body. {'LIMITED', quota}: beyond the tenant's rate. Quota: see _rate.lua,
-- or {}. A repeat of what was accepted is answered before the rate is looked at, and uses none of it.
-- {'MOVED', cells in force}: more than in ARGV[12], so the owner may be another cell (core/cells). Nothing is stored.
-- OUTDATED: the store has no version of a template with this text.
-- An error (a full Redis refuses the first write, for there is no DEL in front) leaves at most entries without a
-- record, which claim drops and counts: the caller was not told 202. A cap is counted after the entries, with the record.
local known = redis.call('HGET', KEYS[1], 'hash')
if known then
  if known == ARGV[2] then return 'REPLAY' end
  return 'CONFLICT'
end
local life, seen = unpack(redis.call('HMGET', KEYS[4], 'life', 'cells'))
local cells, stopped = 1, {}
seen = tonumber(seen or 1)
if ARGV[12] ~= '1' then
  local n, forced = string.match(ARGV[12], '^(%d+)(.*)$')
  cells = tonumber(n)
  for i in string.gmatch(forced, '%d+') do stopped[tonumber(i)] = true end
end
if seen > cells then return {'MOVED', seen} end
local pins = tonumber(ARGV[11])
local kept = {}
for n = 1, pins do
  local key = KEYS[#KEYS - pins + n]
  local version, digest, keep = string.match(ARGV[#ARGV - pins + n], '^(%d+) (%x+) (%d+)$')
  local found = redis.call('HGET', key, '#' .. version)
  -- An earlier version of this program stored no digests.
  if found ~= digest and (found or redis.call('HEXISTS', key, version) == 0) then return 'OUTDATED' end
  if keep ~= '0' then
    if redis.call('PTTL', key) >= 0 then return 'OUTDATED' end -- deleted a moment ago, and kept for a while only
    if tonumber(redis.call('HGET', key, '#until') or 0) < tonumber(keep) then kept[key] = keep end
  end
end
local caps = math.floor((#ARGV - #KEYS - 6) / 2)
local count = #KEYS - 6 - caps - pins
local now, paid, quota = nil, nil, {}
if caps > 0 or ARGV[10] ~= '' then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
if ARGV[10] ~= '' then
  local granted
  granted, paid, quota = grant(KEYS[5], ARGV[10], now)
  if not granted then
    if paid then redis.call('SET', KEYS[5], string.format('%.3f', paid), 'PX', quota[3] + 1000) end
    return {'LIMITED', quota}
  end
end
if caps > 0 then stopped = without_room(caps, 7 + count, 14 + count, now) end
if cells > seen then raise(KEYS[6], KEYS[4], cells) end
for key, keep in pairs(kept) do redis.call('HSET', key, '#until', keep) end
local open, suppressed, record = 0, {}, {'hash', ARGV[2], 'm', ARGV[3], 'x', ARGV[7], 'v', 1}
local function add(name, value)
  record[#record + 1] = name
  record[#record + 1] = value
end
for n = 1, count do
  local i, lane, mailbox, at, expires, first = n - 1, KEYS[6 + n], ARGV[12 + n], ARGV[5], nil, nil
  local words = {}
  if string.find(mailbox, ' ', 1, true) then
    for word in string.gmatch(mailbox, '%S+') do words[#words + 1] = word end
    mailbox, at, expires, first = words[1], words[2], words[3], words[4]
  end
  local nid = ARGV[1] .. '.' .. i
  if stopped[i] then
    suppressed[#suppressed + 1] = i
    add(i .. '.st', 'suppressed')
    add(i .. '.r', 'recipient_cap')
  elseif first and stopped[tonumber(first)] then
    add(i .. '.st', 'skipped')
    add(i .. '.r', 'suppressed')
  else
    local eid, state = '', 'queued'
    if at ~= '' and at ~= '0' then
      redis.call('ZADD', KEYS[3], at, nid)
      state = first and 'standby' or 'delayed'
    else
      if redis.call('SISMEMBER', KEYS[2], mailbox) == 0 then redis.call('SADD', KEYS[2], mailbox) end
      lane, eid = enqueue(lane, ARGV[9], nid)
    end
    open = open + 1
    add(i .. '.st', state)
    add(i .. '.lane', lane)
    add(i .. '.eid', eid)
    if first then
      add(first .. '.fb', nid)
      add(i .. '.fo', first)
      add(i .. '.fw', words[5])
      if words[6] ~= '0' then add(i .. '.fa', words[6]) end
      add(i .. '.ft', words[7])
    end
  end
  add(i .. '.vendor', mailbox)
  if expires then add(i .. '.ex', expires) end
  if ARGV[6] == 'hold' then add(i .. '.pol', 'hold') end
end
add('open', open)
if open > 0 then add('d', ARGV[4]) end
local accepted = redis.call('HINCRBY', KEYS[4], 'n', 1)
if accepted == 1 then
  life = ARGV[8]
  redis.call('HSET', KEYS[4], 'life', life)
end
if caps > 0 then count_caps(caps, 7 + count, 14 + count, now, stopped) end
if paid then redis.call('SET', KEYS[5], string.format('%.3f', paid), 'PX', quota[3] + 1000) end
for from = 1, #record, 4000 do -- Lua cannot pass more than some 8,000 values at once
  redis.call('HSET', KEYS[1], unpack(record, from, math.min(from + 3999, #record)))
end
if open == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[13 + count]) end -- nothing will finish it
return {'OK', life, accepted, quota, unpack(suppressed)}
