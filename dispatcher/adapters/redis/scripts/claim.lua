-- Take up to `want` entries under one incarnation, lanes in the order given, with their records. (Prologue: _record.lua)
-- KEYS[1] actors   KEYS[2..] lanes, most urgent first   ARGV[1] me   ARGV[2] want   ARGV[3] prefix of records
-- Reply {'FENCED'} when I am not live; else {'OK', now ms, {lane, entry id, notification id, record fields}…}.
-- COUNT is per stream, hence the running remainder; a lane without a group answers by an error of its own, which must
-- not strand what an earlier lane already gave, hence pcall. Groups begin at 0, so nothing is ever skipped.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= 'live' then return {'FENCED'} end
local left, out = tonumber(ARGV[2]), {}
for k = 2, #KEYS do
  if left <= 0 then break end
  local r = redis.pcall('XREADGROUP', 'GROUP', 'g', ARGV[1], 'COUNT', left, 'STREAMS', KEYS[k], '>')
  if r and r.err then
    redis.pcall('XGROUP', 'CREATE', KEYS[k], 'g', '0', 'MKSTREAM')
    r = redis.pcall('XREADGROUP', 'GROUP', 'g', ARGV[1], 'COUNT', left, 'STREAMS', KEYS[k], '>')
  end
  if r and not r.err then
    for _, e in ipairs(r[1][2]) do
      out[#out + 1] = {KEYS[k], e[1], e[2][2]}
      left = left - 1
    end
  end
end
for _, e in ipairs(out) do
  local trigger, i = string.match(e[3], '^(.*)%.(%d+)$')
  e[4] = fields_of(ARGV[3] .. trigger, i)
end
local t = redis.call('TIME')
return {'OK', t[1] * 1000 + math.floor(t[2] / 1000), out}
