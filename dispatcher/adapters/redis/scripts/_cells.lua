-- Prologue of accept, known and join: the number of cells in force that this cell has seen (core/cells). Hash `cells`:
-- n, and since:<n> for each n, ms. The ledger has n as well, as `cells`: accept reads the ledger anyway.

-- Count `n` cells from here on. The caller has seen that fewer are counted. The ledger goes first, for it is the fence:
-- after an error behind it the raise is done again.
local function raise(cells, ledger, n)
  redis.call('HSET', ledger, 'cells', n)
  if redis.call('HEXISTS', cells, 'since:' .. n) == 0 then
    local t = redis.call('TIME')
    redis.call('HSET', cells, 'since:' .. n, string.format('%d', t[1] * 1000 + math.floor(t[2] / 1000)))
  end
  redis.call('HSET', cells, 'n', n)
end
