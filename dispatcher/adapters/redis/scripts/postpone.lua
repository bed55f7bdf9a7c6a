-- Its time has come, but nobody can do anything with it now: look again later. (Prologue: _delay.lua)
-- KEYS[1] due or delayed  [2] never exists  [3] clock
-- ARGV[1] notification id  [2] the score it was read with  [3] wait, ms  [4] 'due' (dated by delay time) or 'delayed'
-- Reply OK or GONE (another promoted, postponed or withdrew it).
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or score ~= ARGV[2] then return 'GONE' end
local t = redis.call('TIME')
redis.call('DEL', KEYS[2])
local now = ARGV[4] == 'due' and delay_time(KEYS[3], 0) or t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], math.max(tonumber(score), now) + ARGV[3], ARGV[1])
return 'OK'
