-- Tell which triggers are here, and count `n` cells in force from here on: afterwards accept stores nothing for a process
-- that counts fewer. (Prologue: _cells.lua)
-- KEYS[1] cells   KEYS[2] ledger   KEYS[3] never exists   KEYS[4..] records   ARGV[1] n
-- Reply {cells in force, hash of each body…}: false if the record is absent, '' if its key is damaged.
local reply = {tonumber(redis.call('HGET', KEYS[1], 'n') or 1)}
for k = 4, #KEYS do
  local hash = redis.pcall('HGET', KEYS[k], 'hash')
  reply[k - 2] = type(hash) == 'table' and hash.err and '' or hash
end
if tonumber(ARGV[1]) > reply[1] then
  redis.call('DEL', KEYS[3])
  raise(KEYS[1], KEYS[2], ARGV[1])
  reply[1] = tonumber(ARGV[1])
end
return reply
