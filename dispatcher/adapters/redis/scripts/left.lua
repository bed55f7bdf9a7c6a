-- Read only: the consumers of streams whose incarnations are not live. `take` claims what is pending for them.
-- KEYS[1] actors   KEYS[2..] streams   Reply {stream, consumer…} for each stream that has any.
-- A stream that does not exist, or has no group, has no consumers.
local actors, found = redis.call('HGETALL', KEYS[1]), {}
local live = {}
for n = 1, #actors, 2 do
  if actors[n + 1] == 'live' then live[actors[n]] = true end
end
for k = 2, #KEYS do
  local consumers, row = redis.pcall('XINFO', 'CONSUMERS', KEYS[k], 'g'), {KEYS[k]}
  for _, consumer in ipairs(consumers.err and {} or consumers) do
    for n = 1, #consumer, 2 do
      if consumer[n] == 'name' and not live[consumer[n + 1]] then row[#row + 1] = consumer[n + 1] end
    end
  end
  if #row > 1 then found[#found + 1] = row end
end
return found
