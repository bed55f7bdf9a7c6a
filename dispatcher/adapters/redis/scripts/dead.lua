-- Stop trying: into the dead letters, with reason and history. (Prologue: _fence.lua)
-- KEYS[4] dead letters  [5] delayed   ARGV[7] notification id   ARGV[8] reason   ARGV[9] vendor   Reply OK or LOST.
redis.call('DEL', KEYS[3])
redis.call('ZADD', KEYS[4], ARGV[6], ARGV[7])
redis.call('HSET', rec, i .. '.st', 'dead', i .. '.h', history, i .. '.n', ARGV[5], i .. '.r', ARGV[8],
  i .. '.vendor', ARGV[9])
wake(KEYS[5])
leave()
return 'OK'
