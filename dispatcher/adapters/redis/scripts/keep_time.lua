-- Redis's clock was set back: delay time goes on where it must be. (Prologue: _delay.lua)
-- KEYS[1] clock  [2] never exists   ARGV[1] the least that delay time is now, ms   Reply: ms it was set forward by; 0: it
-- was there already, another said the same.
redis.call('DEL', KEYS[2])
local before = redis.call('HGET', KEYS[1], 'ahead') or 0
delay_time(KEYS[1], ARGV[1])
return redis.call('HGET', KEYS[1], 'ahead') - before
