-- A write that comes after everything that was asked before: what it waits for includes all that (`replicas.py`).
-- KEYS[1] mark  [2] never exists   ARGV[1] a number   Reply OK.
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1])
return 'OK'
