-- Part of each script that ends a notification: when the last of a trigger is finished, the record is compacted (its
-- data goes, its history stays) and begins to expire. Before that no record expires.
local function finish(record, retention_ms)
  if redis.call('HINCRBY', record, 'open', -1) <= 0 then
    redis.call('HDEL', record, 'd')
    redis.call('PEXPIRE', record, retention_ms)
  end
end
