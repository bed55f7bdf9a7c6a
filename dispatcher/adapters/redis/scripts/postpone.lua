-- Its time has come, but nobody can do anything with it now: look again later.
-- KEYS[1] due or delayed  [2] never exists   ARGV[1] notification id  [2] the score it was read with  [3] wait, ms
-- Reply OK or GONE (another promoted, postponed or withdrew it).
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or score ~= ARGV[2] then return 'GONE' end
local t = redis.call('TIME')
redis.call('DEL', KEYS[2])
redis.call('ZADD', KEYS[1], math.max(tonumber(score), t[1] * 1000 + math.floor(t[2] / 1000)) + ARGV[3], ARGV[1])
return 'OK'
