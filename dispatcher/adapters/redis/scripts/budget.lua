-- How many redrives into a mailbox may go now, over all who ask: a token bucket of one second's worth, as one number,
-- the time at which everything granted so far is paid for.
-- KEYS[1] budget   KEYS[2] never exists   ARGV[1] wanted   ARGV[2] per second
-- Reply {granted, ms to wait until the rest (at most a second's worth) may go, 0 when all was granted}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local each, want = 1000 / ARGV[2], tonumber(ARGV[1])
local span = math.max(1000, each) -- less than one a second: the bucket holds one
-- Never further ahead than a full bucket: a clock that was set back must not close it for that long.
local paid = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now), now + span)
local granted = math.min(want, math.floor((now + span - paid) / each + 1e-6))
paid = paid + granted * each
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[1], string.format('%.3f', paid), 'PX', math.ceil(span) + 1000)
local left = math.min(want - granted, math.floor(span / each + 1e-6))
if left <= 0 then return {granted, 0} end
return {granted, math.max(1, math.ceil(paid + left * each - now - span))}
