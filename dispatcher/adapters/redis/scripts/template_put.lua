-- Stores a template's content as its next version, unless the latest version holds the same.
--
-- Keys:  1 {nd:0}:template:<name>  hash, version -> content as JSON
--        2 {nd:0}:templates        hash, name -> latest version
-- Args:  1 name   2 content as canonical JSON
-- Reply: the version that holds the content, an integer >= 1.
--
-- Invariant: a version that `templates` has named never changes, and every version it names exists. The content is
-- written first: after an error between the two writes the repeat overwrites a version that nobody was ever told of.

local latest = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
if latest > 0 and redis.call('HGET', KEYS[1], latest) == ARGV[2] then
  return latest
end
local version = latest + 1
redis.call('HSET', KEYS[1], version, ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], version)
return version
