-- The durable mark of an actor that sends a suspect with nothing beside it: should it die now, `take` counts the crash for
-- that notification alone, whatever else it has claimed.
-- KEYS[1] actors   KEYS[2] singled out (incarnation → notification)   KEYS[3] never exists
-- ARGV[1] me   ARGV[2] notification id, or '' to end it   Reply OK, or LOST: I am not live; send nothing.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= 'live' then return 'LOST' end
redis.call('DEL', KEYS[3])
if ARGV[2] == '' then redis.call('HDEL', KEYS[2], ARGV[1]) else redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end
return 'OK'
