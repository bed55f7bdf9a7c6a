-- Read only: the consumers of streams whose incarnations are not live, and how many entries are pending for each. `take`
-- claims these entries.
-- KEYS[1] actors   KEYS[2..] streams   Reply {stream, consumer, pending, consumer, pending…} for each stream that has any.
-- A stream that does not exist, or has no group, has no consumers.
local actors, found = redis.call('HGETALL', KEYS[1]), {}
local live = {}
for n = 1, #actors, 2 do
  if actors[n + 1] == 'live' then live[actors[n]] = true end
end
for k = 2, #KEYS do
  local consumers, row = redis.pcall('XINFO', 'CONSUMERS', KEYS[k], 'g'), {KEYS[k]}
  for _, consumer in ipairs(consumers.err and {} or consumers) do
    local of = {}
    for n = 1, #consumer, 2 do of[consumer[n]] = consumer[n + 1] end
    if not live[of.name] then
      row[#row + 1] = of.name
      row[#row + 1] = of.pending
    end
  end
  if #row > 1 then found[#found + 1] = row end
end
return found
