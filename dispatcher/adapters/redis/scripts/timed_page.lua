-- Read only: the entries of a set ordered by time that come after a position, oldest first, by time and then id.
-- The sets are the dead letters and what is due, delayed or held.
-- KEYS[1] the set   ARGV[1] time of the position or '-inf'  [2] its id, '' for none  [3] latest time  [4] at most
-- Reply {id, time, id, time…}. The position's own entry may be gone: its rank is searched for, in log n steps, so a page
-- costs the same whatever lies before it, and however many have the same millisecond.
local function up_to(a, b) -- by bytes, as the set is ordered: Lua's own <= follows the server's locale
  for n = 1, math.min(#a, #b) do
    local x, y = string.byte(a, n), string.byte(b, n)
    if x ~= y then return x < y end
  end
  return #a <= #b
end
local low = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[1])
local high = low + redis.call('ZCOUNT', KEYS[1], ARGV[1], ARGV[1])
while low < high do
  local middle = math.floor((low + high) / 2)
  if up_to(redis.call('ZRANGE', KEYS[1], middle, middle)[1], ARGV[2]) then low = middle + 1 else high = middle end
end
local page = redis.call('ZRANGE', KEYS[1], low, low + ARGV[4] - 1, 'WITHSCORES')
local out, latest = {}, tonumber(ARGV[3]) or math.huge
for n = 1, #page, 2 do
  if tonumber(page[n + 1]) > latest then break end
  out[n], out[n + 1] = page[n], page[n + 1]
end
return out
