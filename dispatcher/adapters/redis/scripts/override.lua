-- An operator's word about a vendor, or its end.
-- KEYS[1] overrides  [2] never exists   ARGV[1] vendor  [2] JSON, '' to take it back   Reply OK.
redis.call('DEL', KEYS[2])
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 'OK'
