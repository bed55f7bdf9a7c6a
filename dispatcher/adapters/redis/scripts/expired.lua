-- Read only: which entries of a lane are past their time, so that a mailbox nobody drains still expires.
-- KEYS[1] lane   ARGV[1] from id  [2] at most  [3] prefix of records   Reply {now ms, next id or '', notification id…}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local page = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local out, last = {}, ''
for _, e in ipairs(page) do
  last = e[1]
  local trigger, i = string.match(e[2][2], '^(.*)%.(%d+)$')
  local f = redis.pcall('HMGET', ARGV[3] .. trigger, 'x', i .. '.ex') -- its own since a redrive, else the trigger's
  local x = not f.err and tonumber(f[2] or f[1] or '') -- of a broken record nobody knows when
  if x and x <= now then out[#out + 1] = e[2][2] end
end
if #page < tonumber(ARGV[2]) then last = '' end
return {now, last, out}
