-- Read the latest plan, whole or as what changed since a known one; or the latest and all changes after an earlier one.
-- KEYS  head, current, log, forced
-- ARGV  generation, its at_ms or "" (any), "since" or "back"
-- Replies: {"none"}
--          {"delta", head, log entries after the generation, forced}    since, and that generation is still kept
--          {"full", head, endpoint and digest pairs, entries, forced}   since otherwise (no entries), or back
--          {"missing", oldest kept, latest}                             back, and that generation is not kept

local head = redis.call('HMGET', KEYS[1], 'generation', 'at_ms', 'lane', 'reason')
if not head[1] then return {'none'} end
local id = ARGV[1] .. '-0'
local kept = redis.call('XRANGE', KEYS[3], id, id)
local found = #kept == 1
if found and ARGV[2] ~= '' then
  found = false
  for index = 1, #kept[1][2], 2 do
    if kept[1][2][index] == 'at_ms' and kept[1][2][index + 1] == ARGV[2] then found = true end
  end
end
local entries = {}
if found then entries = redis.call('XRANGE', KEYS[3], ARGV[1] .. '-1', '+') end
-- Who has the latest plan already, as most that ask do, is told nothing more, however many endpoints were forced.
if found and #entries == 0 and ARGV[3] == 'since' then return {'delta', head, {}, {}} end
if ARGV[3] == 'since' then
  if found then return {'delta', head, entries, redis.call('HGETALL', KEYS[4])} end
  return {'full', head, redis.call('HGETALL', KEYS[2]), {}, redis.call('HGETALL', KEYS[4])}
end
if not found then
  local oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)
  return {'missing', oldest[1] and oldest[1][1] or '0-0', head[1]}
end
return {'full', head, redis.call('HGETALL', KEYS[2]), entries, redis.call('HGETALL', KEYS[4])}
