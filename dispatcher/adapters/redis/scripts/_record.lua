-- Prologue of claim and take: what they answer of a record, in the order of FIELDS in wire/records.py. Of a key that is no
-- hash it is BROKEN, also there: one such record must not strand what is claimed beside it. Hence pcall.
local function fields_of(record, i)
  local f = redis.pcall('HMGET', record, 'm', 'd', 'x', i .. '.st', i .. '.n', i .. '.gen', i .. '.cr', i .. '.tr',
    i .. '.ep', i .. '.eid', 'v', i .. '.ex', i .. '.ch', i .. '.tv', i .. '.td', i .. '.ro')
  if f.err then return {'', '', false, false, false, false, false, false, false, false, '0', false, false, false, false, false} end
  return f
end
