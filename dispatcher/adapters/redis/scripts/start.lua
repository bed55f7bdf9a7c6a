-- The durable start mark of `hold`: from here on "pending and started" means "maybe sent", and `s` tells when and by whom.
-- KEYS[1] lane   KEYS[2] record   KEYS[3] never exists   KEYS[4] actors   ARGV[1] entry id  [2] me  [3] index
-- Where the vendor can be asked later, also: KEYS[5] fingerprint   ARGV[4] notification id  [5] window ms
-- [6] prefix of records. Two of one fingerprint within the window are marked as twins (`tw`): no answer could tell
-- which of them it is about. A mark stays.
-- Reply OK: send. LOST: not mine, or I am not live; send nothing. Asking again gives the same answer.
if redis.call('HGET', KEYS[4], ARGV[2]) ~= 'live' then return 'LOST' end
local mine = redis.pcall('XPENDING', KEYS[1], 'g', ARGV[1], ARGV[1], 1, ARGV[2])
if mine.err and not string.find(mine.err, 'NOGROUP', 1, true) then return mine end
if mine.err or #mine == 0 then return 'LOST' end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local twin = KEYS[5] and redis.call('GET', KEYS[5])
redis.call('DEL', KEYS[3])
if twin and twin ~= ARGV[4] then
  local trigger, i = string.match(twin, '^(.*)%.(%d+)$')
  local other = ARGV[6] .. trigger
  if redis.call('EXISTS', other) == 1 then redis.pcall('HSET', other, i .. '.tw', 1) end
  redis.call('HSET', KEYS[2], ARGV[3] .. '.tw', 1)
end
if KEYS[5] then redis.call('SET', KEYS[5], ARGV[4], 'PX', ARGV[5]) end
redis.call('HSET', KEYS[2], ARGV[3] .. '.st', 'started', ARGV[3] .. '.s', string.format('%.0f', now) .. ' ' .. ARGV[2])
return 'OK'
