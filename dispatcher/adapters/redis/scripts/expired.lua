-- Read only: which entries of a lane are past their time, so that a mailbox nobody drains still expires. A page goes
-- through the lane's stream and then the tenants' queues, by their turns (_enqueue.lua).
-- KEYS[1] lane   ARGV[1] from: '' the begin, or `<0 the stream, n the n-th turn> <from id>`  [2] at most  [3] prefix of
-- records   Reply {now ms, next or '', notification id…}. Each queue counts as an entry more, so the cost is bounded.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local at, from = string.match(ARGV[1], '^(%d+) (.+)$')
at, from = tonumber(at or 0), from or '-'
local left, out, following = tonumber(ARGV[2]), {}, ''
local function stream_at(n)
  if n == 0 then return KEYS[1] end
  local turn = redis.call('LINDEX', KEYS[1] .. ':turns', n - 1)
  return turn and KEYS[1] .. ':of:' .. string.match(turn, '^%d+ (.*)$')
end
local stream = stream_at(at)
while stream do
  local page = redis.call('XRANGE', stream, from, '+', 'COUNT', left)
  for _, e in ipairs(page) do
    local trigger, i = string.match(e[2][2], '^(.*)%.(%d+)$')
    local f = redis.pcall('HMGET', ARGV[3] .. trigger, 'x', i .. '.ex') -- its own since a redrive, else the trigger's
    local x = not f.err and tonumber(f[2] or f[1] or '') -- of a broken record nobody knows when
    if x and x <= now then out[#out + 1] = e[2][2] end
  end
  if #page == left then
    following = string.format('%d', at) .. ' (' .. page[left][1]
    break
  end
  at, from, left = at + 1, '-', left - #page - 1
  stream = stream_at(at)
  if left <= 0 then
    if stream then following = string.format('%d', at) .. ' -' end
    break
  end
end
return {now, following, out}
