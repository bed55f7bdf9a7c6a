-- Make this server a cell of an installation, unless it is one. (Prologue: _cells.lua)
-- KEYS[1] cells   KEYS[2] ledger   KEYS[3] plan   KEYS[4] never exists
-- ARGV[1] installation  [2] cell  [3] the cells with which it began  [4] cells in force
-- ARGV[5] begin: the installation begins here; then one cell is in force if triggers were accepted or a supervisor had
-- a term here: processes that know only this cell may run. (With several cells a supervisor joins before its term.)
-- Reply OK. An accept may have counted cells before: the higher number stays.
if redis.call('HEXISTS', KEYS[1], 'installation') == 1 then return 'OK' end
local first, n = ARGV[3], ARGV[4]
if ARGV[5] == 'begin' and redis.call('HEXISTS', KEYS[2], 'n') + redis.call('EXISTS', KEYS[3]) > 0 then first, n = '1', '1' end
local seen = tonumber(redis.call('HGET', KEYS[1], 'n') or 0)
redis.call('DEL', KEYS[4])
redis.call('HSET', KEYS[1], 'since:' .. first, '0')
if tonumber(n) > seen then raise(KEYS[1], KEYS[2], n) end
redis.call('HSET', KEYS[1], 'cell', ARGV[2], 'installation', ARGV[1])
return 'OK'
