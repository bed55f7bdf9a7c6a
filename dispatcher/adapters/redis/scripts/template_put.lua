-- Stores a template's content as its next version, unless the latest version holds the same.
--
-- Keys:  1 {nd:0}:template:<name>  hash, version -> content as JSON
--        2 {nd:0}:templates        hash, name -> latest version
--        3 {nd:0}:templates:file   hash, name -> hash of the content that the configuration file gave last
-- Args:  1 name   2 content as canonical JSON   3 its hash when the file gives it, else ''
-- Reply: the latest version afterwards, an integer >= 1: it holds the content, unless the file gave this very content
--        before; then it may hold what somebody put since.
--
-- Invariant: a version that `templates` has named never changes, and every version it names exists. The content is
-- written first: after an error between the two writes the repeat overwrites a version that nobody was ever told of.
-- The file's hash is written last: after an error the repeat gives the content again.

local latest = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
if latest > 0 and ARGV[3] ~= '' and redis.call('HGET', KEYS[3], ARGV[1]) == ARGV[3] then
  return latest
end
if latest == 0 or redis.call('HGET', KEYS[1], latest) ~= ARGV[2] then
  latest = latest + 1
  redis.call('HSET', KEYS[1], latest, ARGV[2])
  redis.call('HSET', KEYS[2], ARGV[1], latest)
end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[3], ARGV[1], ARGV[3]) end
return latest
