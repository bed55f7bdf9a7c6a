-- Take up to `want` entries under one incarnation, lanes in the order given, with their records. Within a lane with a
-- backlog, tenants take turns. (Prologue: _record.lua, _turns.lua; the layout is told in _enqueue.lua)
-- KEYS[1] actors   KEYS[2] never exists   KEYS[3] weights of tenants   KEYS[4..] lanes, most urgent first
-- ARGV[1] me   ARGV[2] want   ARGV[3] prefix of records
-- Reply {'FENCED'} when I am not live; else {'OK', now ms, {stream, entry id, notification id, record fields}…}.
-- COUNT is per stream, hence the running remainder; a lane without a group answers by an error of its own, which must
-- not strand what an earlier lane already gave, hence pcall. Groups begin at 0, so nothing is ever skipped.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= 'live' then return {'FENCED'} end
local left, out = tonumber(ARGV[2]), {}
local context = {['nil'] = KEYS[2], weights = KEYS[3], prefix = ARGV[3]}
local function read(stream, count)
  local r = redis.pcall('XREADGROUP', 'GROUP', 'g', ARGV[1], 'COUNT', count, 'STREAMS', stream, '>')
  if r and r.err then
    redis.pcall('XGROUP', 'CREATE', stream, 'g', '0', 'MKSTREAM')
    r = redis.pcall('XREADGROUP', 'GROUP', 'g', ARGV[1], 'COUNT', count, 'STREAMS', stream, '>')
  end
  return r and not r.err and r[1][2] or {}
end
local function give(row)
  out[#out + 1] = row
  left = left - 1
end
for k = 4, #KEYS do
  if left <= 0 then break end
  local lane, state = KEYS[k], redis.pcall('GET', KEYS[k] .. ':owner')
  local old, owner = string.match(type(state) == 'string' and state or '', '^(%d+) o(.*)$')
  local count = owner and math.min(left, tonumber(old)) or left
  local page = count > 0 and read(lane, count) or {}
  for _, e in ipairs(page) do give({lane, e[1], e[2][2]}) end
  if owner and count > 0 then
    old = #page < count and 0 or old - #page
    redis.call('SET', lane .. ':owner', string.format('%d', old) .. ' o' .. owner)
  end
  if state and left > 0 then
    for _, row in ipairs(claim_in_turns(lane, left, owner, context, read)) do give(row) end
  end
end
for _, e in ipairs(out) do
  if not e[4] then
    local trigger, i = string.match(e[3], '^(.*)%.(%d+)$')
    e[4] = fields_of(ARGV[3] .. trigger, i)
  end
end
local t = redis.call('TIME')
return {'OK', t[1] * 1000 + math.floor(t[2] / 1000), out}
