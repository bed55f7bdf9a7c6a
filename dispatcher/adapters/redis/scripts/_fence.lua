-- Prologue of settle, dead, move, retry, hold: prepended to each of them, never loaded alone.
-- KEYS[1] lane   KEYS[2] record   KEYS[3] a key that never exists
-- ARGV[1] entry id   ARGV[2] owner (vendor/incarnation)   ARGV[3] index of the notification in its trigger
-- ARGV[4] one line of history, JSON, or ''   ARGV[5] attempts so far   ARGV[6] now, ms
-- Reply LOST: not pending for that owner; nothing was changed. XACK is no fence, it ignores the consumer.
-- Order of each script: fence, decode and compute, DEL of a never-existing key (opens a full Redis for the rest of the
-- script and writes nothing), destination, record, XACK and XDEL last. An error then repeats; it cannot lose.
local lane, rec, i = KEYS[1], KEYS[2], ARGV[3]
local mine = redis.pcall('XPENDING', lane, 'g', ARGV[1], ARGV[1], 1, ARGV[2])
-- No stream or no group any more (a restored backup): nothing is pending for anybody. Another error is passed on.
if mine.err and not string.find(mine.err, 'NOGROUP', 1, true) then return mine end
if mine.err or #mine == 0 then return 'LOST' end
local fields = redis.call('HMGET', rec, i .. '.h', i .. '.n', i .. '.fb')
local history = fields[1] or ''
if ARGV[4] ~= '' then
  if history ~= '' then history = history .. ',' end
  history = history .. ARGV[4]
end
-- A vendor that throttles for a day would make a record of megabytes: from 4 KiB on the older half gives way to its number.
if #history > 4096 then
  local line = '%],%[%d+,"'
  local cut = string.find(history, line, #history - 2048)
  if cut then
    local head = string.sub(history, 1, cut)
    local before = tonumber(string.match(head, '^%[%d+,"","left_out","(%d+)"') or 0)
    local lines = select(2, string.gsub(head, line, '')) + (before == 0 and 1 or 0)
    history = '[' .. ARGV[6] .. ',"","left_out","' .. string.format('%d', before + lines) .. '",0,null]' .. string.sub(history, cut + 1)
  end
end
-- The end of a notification makes its fallback, if it has one, be looked at now; begin.lua decides about it.
local function wake(delayed)
  if fields[3] then redis.call('ZADD', delayed, 'XX', ARGV[6], fields[3]) end
end
local function leave()
  redis.call('XACK', lane, 'g', ARGV[1])
  redis.call('XDEL', lane, ARGV[1])
end
