-- Stores a version of a template under the number that the first cell gave it, and makes it the latest.
--
-- Keys:  as template_put.lua
-- Args:  1 stored name   2 content as canonical JSON   3 its digest   4 the number
-- Reply: 1: the latest version has this number and this content. -<number>: this store has given the number, or a
--        greater one, to another content; nothing changed, and the first cell should use a greater number than this.
--
-- Invariant: as template_put.lua. A repeat changes nothing. The owner's quota was checked by the first cell.

local number = tonumber(ARGV[4])
local latest = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
local known = redis.call('HGET', KEYS[1], number)
if latest > number or (known and known ~= ARGV[2]) then return -math.max(latest, number) end
local row = redis.call('HGET', KEYS[4], ARGV[1])
local size = row and tonumber(string.match(row, '^(%d+) ')) or 0
if not known then
  size = size + #ARGV[2]
  redis.call('HSET', KEYS[1], number, ARGV[2], '#' .. number, ARGV[3])
end
redis.call('PERSIST', KEYS[1]) -- it was deleted a while ago
redis.call('HSET', KEYS[4], ARGV[1], string.format('%d 0 %d', size, number))
redis.call('HSET', KEYS[2], ARGV[1], number)
return 1
