-- Read only: the oldest entry that waits in a tenant's queue, of each lane. (Prologue: _oldest.lua)
-- KEYS[1..] lanes   Reply {when it came, ms, or 0: none waits…}
local found = {}
for k = 1, #KEYS do
  local oldest = oldest_waiting(KEYS[k])
  found[k] = oldest and tonumber(string.match(oldest[1], '^%d+')) or 0
end
return found
