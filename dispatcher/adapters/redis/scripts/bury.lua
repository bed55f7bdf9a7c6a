-- Mark incarnations dead, by the supervisor: one that has renewed itself since the supervisor looked is left alone.
-- KEYS[1] actors   KEYS[2] plan   KEYS[3] never exists   KEYS[4] processes
-- ARGV[1] supervisor's term   ARGV[2], ARGV[3].. an incarnation, and how often it had renewed itself
-- Reply STALE when another supervisor has begun a later term; else those that are dead now. They stay listed until
-- `take` finds nothing of theirs.
if redis.call('HGET', KEYS[2], 'term') ~= ARGV[1] then return 'STALE' end
redis.call('DEL', KEYS[3])
local dead = {}
for n = 2, #ARGV, 2 do
  local renewed = string.match(redis.call('HGET', KEYS[4], ARGV[n]) or '', '^%d+') or 0
  if tonumber(renewed) == tonumber(ARGV[n + 1]) then
    redis.call('HSET', KEYS[1], ARGV[n], 'dead')
    dead[#dead + 1] = ARGV[n]
  end
end
return dead
