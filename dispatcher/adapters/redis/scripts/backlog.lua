-- Read only: what is accepted and not ended, out of the mailboxes, and the oldest of each lane.
-- (Prologue: _oldest.lua)
-- KEYS[1] due  [2] held  [3] delayed  [4] clock  [5..] lanes
-- ARGV[1] prefix of records  [2] how many of a place are looked at: half by their time, half from its end
-- Reply {now ms, delay time ms, {{how many, {mailbox, since ms, score}…} of due, held, delayed}, {since ms, entry ms} or {}
-- per lane}. `since`: the first call, else the accept. A head that was never called counts since it came into the lane.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local half = math.floor(ARGV[2] / 2)
local function read(nid)
  local trigger, i = string.match(nid, '^(.*)%.(%d+)$')
  if not trigger then return '', nil, nil end
  local f = redis.pcall('HMGET', ARGV[1] .. trigger, i .. '.vendor', i .. '.h', 'm')
  if f.err then return '', nil, nil end -- no hash: what nobody can read
  return f[1] or '', string.match(f[2] or '', '^%[(%d+)'), string.match(f[3] or '', '"a":(%d+)')
end
local places = {}
for k = 1, 3 do
  local total = redis.call('ZCARD', KEYS[k])
  local rows = redis.call('ZRANGE', KEYS[k], 0, half - 1, 'WITHSCORES')
  local last = redis.call('ZRANGE', KEYS[k], math.max(half, total - half), -1, 'WITHSCORES')
  for n = 1, #last do rows[#rows + 1] = last[n] end
  local out = {total}
  for n = 1, #rows, 2 do
    local mailbox, called, accepted = read(rows[n])
    out[#out + 1] = {mailbox, called or accepted or now, rows[n + 1]}
  end
  places[k] = out
end
local function earlier(a, b)
  if a and tonumber(a) < tonumber(b) then return a end
  return b
end
local heads = {}
for k = 5, #KEYS do
  local first = redis.pcall('XRANGE', KEYS[k], '-', '+', 'COUNT', 1)
  local head = {}
  for _, e in ipairs({not first.err and first[1] or false, oldest_waiting(KEYS[k]) or false}) do
    if e then
      local came = string.match(e[1], '^(%d+)')
      local _, called = read(e[2][2])
      head = {earlier(head[1], called or came), earlier(head[2], came)}
    end
  end
  heads[#heads + 1] = head
end
return {now, now + (redis.call('HGET', KEYS[4], 'ahead') or 0), places, heads}
