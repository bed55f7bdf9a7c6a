-- An actor's own clean end.
-- KEYS[1] actors   KEYS[2] never exists   ARGV[1] incarnation
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], 'stopped')
return 'OK'
