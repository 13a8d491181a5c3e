-- Read the latest plan, whole or as what changed since a known one; or the latest and all changes after an earlier one.
-- KEYS  head, current, log, forced, contents
-- ARGV  generation, its at_ms or "" (any), "since" or "back"
-- Replies: {"none"}
--          {"delta", head, log entries after the generation, forced, digest and content pairs}
--                                                                       since, and that generation is still kept
--          {"full", head, current, entries, forced}                     since otherwise (no entries), or back
--          {"lost", as "full"}                                          since, and the store has lost that generation
--          {"missing", oldest kept, latest}                             back, and that generation is not kept
-- Head: generation, at_ms, lane, reason, raised. Current: endpoint and "digest generation" pairs. Digests: those that the
-- entries bring, where they are few, so that who follows needs no second look; none where they are many.

local FEW = 16

local function changes_in(entry)
  for index = 1, #entry[2], 2 do
    if entry[2][index] == 'changes' then return entry[2][index + 1] end
  end
  return ''
end

local function contents_in(entries)
  local digests, pairs_of = {}, {}
  if #entries > FEW then return pairs_of end
  for _, entry in ipairs(entries) do
    for digest in string.gmatch(changes_in(entry), '[^ \n]+ [^ \n]+ ([^ \n]+)') do
      if #digests == FEW then return pairs_of end
      digests[#digests + 1] = digest
    end
  end
  if #digests == 0 then return pairs_of end
  for index, content in ipairs(redis.call('HMGET', KEYS[5], unpack(digests))) do
    -- What left the plan, or is in none any more, has no content.
    if content then
      pairs_of[#pairs_of + 1] = digests[index]
      pairs_of[#pairs_of + 1] = content
    end
  end
  return pairs_of
end

local head = redis.call('HMGET', KEYS[1], 'generation', 'at_ms', 'lane', 'reason', 'raised')
if not head[1] then return {'none'} end
head[5] = head[5] or '0'
-- Who has the latest plan already, as most that ask do, is told nothing more, and nothing else is read for it.
if ARGV[3] == 'since' and head[1] == ARGV[1] and head[2] == ARGV[2] then return {'delta', head, {}, {}} end
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
if found and ARGV[3] == 'since' then
  return {'delta', head, entries, redis.call('HGETALL', KEYS[4]), contents_in(entries)}
end
local kind = 'full'
if not found then
  local oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)
  local first = oldest[1] and oldest[1][1] or '0-0'
  if ARGV[3] == 'back' then return {'missing', first, head[1]} end
  -- What is older than all that is kept was forgotten in good order; anything else was lost, or is from another past.
  if ARGV[1] ~= '0' and tonumber(ARGV[1]) >= tonumber(string.match(first, '^%d+')) then kind = 'lost' end
end
return {kind, head, redis.call('HGETALL', KEYS[2]), entries, redis.call('HGETALL', KEYS[4])}
