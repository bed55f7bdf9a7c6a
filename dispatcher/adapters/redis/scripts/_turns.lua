-- Prologue of claim: the tenants of a lane take turns (core/limits/turns.py); the layout is told in _enqueue.lua.
-- First it is read whose turn gives what. Then it is written: the owner's are claimed in the lane's stream, the others' go
-- to the tail of `lane:fair`, and into their records, and are claimed there; out of their queues; the turns last. An error
-- leaves at most a second entry that is not its record's: claim drops and counts it.
-- A step serves or drops a turn, and a claim looks at `want` + IDLE turns at most, so its cost does not follow the number
-- of tenants that wait. IDLE turns are for nothing: of tenants whose messages were cancelled, expired or damaged.
local IDLE, UNREAD = 1000, 100

-- Answers rows of claimed entries in the order of turns, and whether nobody has a turn any more. `read(stream, count)`
-- claims, and answers entries. `owner`: tenant, or nil. `c`: {nil = key that never exists, weights =, prefix =}.
local function claim_in_turns(lane, want, owner, c, read)
  local ring = redis.call('LLEN', lane .. ':turns')
  local rows, most = {}, math.min(ring, want + IDLE)
  local page, weighted = math.ceil(want / math.max(1, ring)), redis.call('EXISTS', c.weights) == 1
  local popped, tail, at, interrupted = 0, {}, 1, nil -- the ring: interrupted, rows behind popped, rest, tail from at on
  local queues, order, of_owner, drained = {}, {}, 0, false

  local function from_queue(tenant, n)
    local q, got = queues[tenant], 0
    if not q then
      q = {key = lane .. ':of:' .. tenant, from = '-', more = true, ids = {}, page = {}, at = 1}
      queues[tenant], queues[#queues + 1] = q, q
    end
    while true do
      if q.at > #q.page and q.more then
        local asked = math.max(n - got, page) + 1
        q.page, q.at = redis.pcall('XRANGE', q.key, q.from, '+', 'COUNT', asked), 1
        if q.page.err then q.page, q.broken = {}, true end -- no stream: its turn goes, the key stays
        q.more = #q.page == asked
        if #q.page > 0 then q.from = '(' .. q.page[#q.page][1] end
      end
      local e = q.page[q.at]
      if got == n or not e then return got, e ~= nil end
      q.at, got = q.at + 1, got + 1
      q.ids[#q.ids + 1] = e[1]
      order[#order + 1] = {eid = e[1], nid = e[2][2]}
    end
  end

  local function plan(count)
    while count > 0 do
      local row
      if interrupted then
        row, interrupted = interrupted, nil
      elseif popped < most then
        if popped == #rows then
          local last = math.min(most, #rows + want) - 1
          for _, next_row in ipairs(redis.call('LRANGE', lane .. ':turns', #rows, last)) do rows[#rows + 1] = next_row end
        end
        popped = popped + 1
        row = rows[popped] or ''
      elseif ring == most and at <= #tail then
        row, at = tail[at], at + 1
      else
        return
      end
      local left, tenant = string.match(row, '^(%d+) (.*)$')
      if left and not (drained and tenant == owner) then
        local weight = weighted and tonumber(redis.call('HGET', c.weights, tenant) or 1) or 1
        left = tonumber(left)
        if left == 0 then left = weight end
        local n, more = math.min(left, count), true
        if popped == ring and at > #tail then n = count end -- alone: turn after turn
        if tenant == owner then
          order[#order + 1], of_owner = n, of_owner + n -- as if it had so many; see below
        else
          n, more = from_queue(tenant, n)
        end
        count, left = count - n, left - n
        if left < 0 then left = left % weight end
        if more and left > 0 then
          interrupted = string.format('%d', left) .. ' ' .. tenant
        elseif more then
          tail[#tail + 1] = '0 ' .. tenant
        end
      end
    end
  end

  plan(want)
  redis.call('DEL', c['nil'])
  local owned = of_owner > 0 and read(lane, of_owner) or {}
  if of_owner > 0 then
    local last = redis.call('XREVRANGE', lane, '+', '-', 'COUNT', 1)[1]
    drained = #owned < of_owner or not last or last[1] == owned[#owned][1]
    plan(of_owner - #owned) -- it had fewer: the others' turns go on
  end
  local out, moved, used = {}, {}, 0
  for _, item in ipairs(order) do
    if type(item) == 'number' then
      for _ = 1, math.min(item, #owned - used) do
        used = used + 1
        out[#out + 1] = {lane, owned[used][1], owned[used][2][2]}
      end
    else
      local trigger, i = string.match(item.nid, '^(.*)%.(%d+)$')
      local eid, f = redis.call('XADD', lane .. ':fair', '*', 'n', item.nid), fields_of(c.prefix .. trigger, i)
      if f[10] == item.eid then
        redis.call('HSET', c.prefix .. trigger, i .. '.lane', lane .. ':fair', i .. '.eid', eid)
        f[10] = eid
      end
      moved[eid] = {lane .. ':fair', eid, item.nid, f}
      moved[#moved + 1] = eid
      out[#out + 1] = moved[eid]
    end
  end
  if #moved > 0 then
    for _, e in ipairs(read(lane .. ':fair', #moved + UNREAD)) do -- more are there only after an error
      if not moved[e[1]] then out[#out + 1] = {lane .. ':fair', e[1], e[2][2]} end
    end
    redis.call('DECRBY', lane .. ':waits', #moved)
  end
  for _, q in ipairs(queues) do
    if not q.more and q.at > #q.page and not q.broken then
      redis.call('DEL', q.key)
    elseif #q.ids > 0 then
      redis.call('XDEL', q.key, unpack(q.ids))
    end
  end
  local function keeps(row) return row and not (drained and string.match(row, ' (.*)$') == owner) end
  local first, last = keeps(interrupted) and {interrupted} or {}, {}
  for n = at, #tail do
    if keeps(tail[n]) then last[#last + 1] = tail[n] end
  end
  if ring - popped + #first + #last == 0 then
    redis.call('DEL', lane .. ':turns', lane .. ':waits', lane .. ':owner')
  elseif ring > 1 or (first[1] or last[1]) ~= rows[1] then
    if popped > 0 then redis.call('LTRIM', lane .. ':turns', popped, -1) end
    for _, row in ipairs(first) do redis.call('LPUSH', lane .. ':turns', row) end
    if #last > 0 then redis.call('RPUSH', lane .. ':turns', unpack(last)) end
    if drained then redis.call('SET', lane .. ':owner', '0 -') end
  end
  return out
end
