-- Stores a template's content as its next version, unless the latest version holds the same.
--
-- Keys:  1 {nd:0}:template:<stored name>   hash, version -> content as JSON; `#<version>` -> its digest;
--                                          `#until` -> when the last trigger that names it is over, if that is far off, ms
--        2 {nd:0}:templates                hash, stored name -> latest version
--        3 {nd:0}:templates:file           hash, name -> hash of the content that the configuration file gave last
--        4 {nd:0}:templates:of:<owner>     hash, name -> `<bytes> <when a deleted one is forgotten, ms, or 0> <version>`;
--                                          '' -> the highest version of a name that was forgotten
-- Args:  1 stored name   2 content as canonical JSON   3 its hash when the file gives it, else ''
--        4 names that the owner may have, -1: no limit   5 bytes that it may have   6 the content's digest, for accept.lua
--        7 the version gets a greater number than this; 0 asks for nothing
-- Reply: the latest version afterwards, an integer >= 1: it holds the content, unless the file gave this very content
--        before; then it may hold what somebody put since. NAMES or BYTES: the owner may have no more; nothing changed.
--
-- Invariant: a version that `templates` has named never changes, also after a deletion, and every version it names
-- exists. The content is written first: after an error between the writes the repeat overwrites a version that nobody
-- was ever told of. The file's hash is written last: after an error the repeat gives the content again.

local latest, above = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0'), tonumber(ARGV[7])
if latest > above and ARGV[3] ~= '' and redis.call('HGET', KEYS[3], ARGV[1]) == ARGV[3] then
  return latest
end
if latest <= above or redis.call('HGET', KEYS[1], latest) ~= ARGV[2] then
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local rows, names, bytes, highest, own, gone = redis.call('HGETALL', KEYS[4]), 0, #ARGV[2], 0, nil, {}
  for n = 1, #rows, 2 do
    local size, ends, version = string.match(rows[n + 1], '^(%d+) (%d+) (%d+)$')
    if rows[n] == '' then
      highest = math.max(highest, tonumber(rows[n + 1]))
    elseif tonumber(ends) > 0 and tonumber(ends) <= now then
      highest = math.max(highest, tonumber(version))
      gone[#gone + 1] = rows[n]
    else
      names, bytes = names + 1, bytes + tonumber(size)
      if rows[n] == ARGV[1] then own = {tonumber(size), tonumber(version)} end
    end
  end
  if tonumber(ARGV[4]) >= 0 then
    if not own and names >= tonumber(ARGV[4]) then return 'NAMES' end
    if bytes > tonumber(ARGV[5]) then return 'BYTES' end
  end
  if latest == 0 then latest = own and own[2] or highest end
  latest = math.max(latest, above) + 1
  redis.call('HSET', KEYS[1], latest, ARGV[2], '#' .. latest, ARGV[6])
  redis.call('PERSIST', KEYS[1]) -- it was deleted a while ago
  for _, name in ipairs(gone) do redis.call('HDEL', KEYS[4], name) end
  if highest > 0 then redis.call('HSET', KEYS[4], '', string.format('%d', highest)) end
  redis.call('HSET', KEYS[4], ARGV[1], string.format('%d 0 %d', (own and own[1] or 0) + #ARGV[2], latest))
  redis.call('HSET', KEYS[2], ARGV[1], latest)
end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[3], ARGV[1], ARGV[3]) end
return latest
