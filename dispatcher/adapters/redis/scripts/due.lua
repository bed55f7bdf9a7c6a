-- Read only: what is due. `due` is dated by delay time (core/store/delay_time.py), `delayed` by the wall clock.
-- KEYS[1] due  [2] delayed  [3] clock   ARGV[1] at most of each  [2] prefix of records
-- Reply {now ms, delay time ms, when the last wait was dated, {id, score, 1 if delayed, meta, expiry, tried, 1 if it stands by,
-- its chain since a redrive or ''}…}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local kept = redis.call('HMGET', KEYS[3], 'ahead', 'dated')
local delay, out = now + (kept[1] or 0), {}
for k, until_ms in ipairs({delay, now}) do
  local page = redis.call('ZRANGEBYSCORE', KEYS[k], '-inf', until_ms, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
  for n = 1, #page, 2 do
    local trigger, i = string.match(page[n], '^(.*)%.(%d+)$')
    local f = redis.pcall('HMGET', ARGV[2] .. trigger, 'm', 'x', i .. '.tr', i .. '.ex', i .. '.st', i .. '.ch')
    if f.err then f = {'?'} end -- no hash: what nobody can read
    out[#out + 1] = {page[n], page[n + 1], k - 1, f[1] or '', f[4] or f[2] or '', f[3] or '',
      f[5] == 'standby' and 1 or 0, f[6] or ''}
  end
end
return {now, delay, tonumber(kept[2] or 0), out}
