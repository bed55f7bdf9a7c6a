-- Read only: what is accepted and not ended, out of the mailboxes, and the head of each lane.
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
local heads = {}
for k = 5, #KEYS do
  local first = redis.pcall('XRANGE', KEYS[k], '-', '+', 'COUNT', 1)
  if first.err or #first == 0 then
    heads[#heads + 1] = {}
  else
    local came = string.match(first[1][1], '^(%d+)')
    local _, called = read(first[1][2][2])
    heads[#heads + 1] = {called or came, came}
  end
end
return {now, now + (redis.call('HGET', KEYS[4], 'ahead') or 0), places, heads}
