-- The weights of tenants, whole: how many entries a tenant's turn has (core/limits/turns.py). Who is not named has one.
-- KEYS[1] weights   KEYS[2] never exists   ARGV tenant, weight…   Reply OK.
redis.call('DEL', KEYS[2])
redis.call('DEL', KEYS[1])
for n = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[n], ARGV[n + 1]) end
return 'OK'
