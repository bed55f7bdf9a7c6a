-- Prologue of each script that dates a wait: delay time, in ms, is Redis TIME plus what it was ever set back by. It is at
-- least `at_least`, and never before the last one given. The rules: core/store/delay_time.py.
-- `clock`: hash of `ahead` (what is added to TIME) and `dated` (the last one given). Writes: call it after the DEL.
local function delay_time(clock, at_least)
  local t = redis.call('TIME')
  local wall = t[1] * 1000 + math.floor(t[2] / 1000)
  local kept = redis.call('HMGET', clock, 'ahead', 'dated')
  local now = math.max(wall + (kept[1] or 0), kept[2] or 0, at_least)
  redis.call('HSET', clock, 'ahead', now - wall, 'dated', now)
  return now
end
