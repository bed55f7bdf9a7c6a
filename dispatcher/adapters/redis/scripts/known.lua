-- Tell which triggers are here, and count `n` cells in force from here on: afterwards accept stores nothing for a process
-- that counts fewer. (Prologue: _cells.lua)
-- KEYS[1] cells   KEYS[2] never exists   KEYS[3..] records   ARGV[1] n
-- Reply {cells in force, hash of each body…}: false if the record is absent, '' if its key is damaged.
local reply = {tonumber(redis.call('HGET', KEYS[1], 'n') or 1)}
for k = 3, #KEYS do
  local hash = redis.pcall('HGET', KEYS[k], 'hash')
  reply[k - 1] = type(hash) == 'table' and hash.err and '' or hash
end
if tonumber(ARGV[1]) > reply[1] then
  redis.call('DEL', KEYS[2])
  raise(KEYS[1], ARGV[1])
  reply[1] = tonumber(ARGV[1])
end
return reply
