-- Commit one change batch whole, or refuse it whole. Source: Route 53 API Reference, ChangeResourceRecordSets.
--
-- KEYS  records  hash: key of a record set -> its canonical text
--       order    sorted set of those keys, as ListResourceRecordSets orders them
--       counts   hash: "name" and "name<tab>type" -> how many record sets there are
--       meta     hash: serial and at_us of the last commit, busy_until_us
--       stream   one entry per committed batch, with the serial as its id
-- ARGV  zone, key of its _frozen record, actor, operator (1 or 0), generation or "", comment, processing time in us,
--       length of the stream, create (1: the zone must not exist yet), then five for each change:
--       action, key, canonical text, "name<tab>type" of the alias target or "", reason why it can never be valid or ""
--
-- A key is "<reversed labels><tab><type><tab><set identifier>". Cost grows with the batch, never with the zone.
-- Replies: {"committed", serial, at_us} {"refused", index, reason, ...} {"frozen", text} {"busy"} {"no_zone"} {"exists"}

local records, order, counts, meta, stream = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local frozen_key, actor, operator, generation, comment = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local processing_us, stream_limit, creating = tonumber(ARGV[7]), ARGV[8], ARGV[9] == '1'
local FIRST, WIDTH = 10, 5

local head = redis.call('HMGET', meta, 'serial', 'busy_until_us')
local serial = tonumber(head[1] or 0)
if creating and head[1] then return {'exists'} end
if not creating and not head[1] then return {'no_zone'} end

if operator ~= '1' then
  local frozen = redis.call('HGET', records, frozen_key)
  if frozen then return {'frozen', frozen} end
end

local now = redis.call('TIME')
local now_us = tonumber(now[1]) * 1000000 + tonumber(now[2])
if tonumber(head[2] or 0) > now_us then return {'busy'} end

-- The working copy: what the batch has made of the zone so far.
local texts, numbers, deleted, touched = {}, {}, {}, {}

local function text_of(key)
  if texts[key] == nil then texts[key] = redis.call('HGET', records, key) end
  return texts[key]
end

local function count_of(field)
  if numbers[field] == nil then numbers[field] = tonumber(redis.call('HGET', counts, field) or 0) end
  return numbers[field]
end

local function put(key, name, kind, text)
  local before = text_of(key)
  local step = (text and 1 or 0) - (before and 1 or 0)
  numbers[name] = count_of(name) + step
  numbers[kind] = count_of(kind) + step
  texts[key] = text
  touched[#touched + 1] = key
end

local function why_not_delete(key, text)
  if deleted[key] then return 'deleted_twice' end
  local existing = text_of(key)
  if not existing then return 'not_found' end
  if existing ~= text then return 'mismatch' end
end

local function why_not_put(action, key, name, kind, identifier, target)
  local existing = text_of(key)
  if action == 'CREATE' and existing then return 'exists' end
  if kind == name .. '\tCNAME' then
    if count_of(name) > (existing and 1 or 0) then return 'cname_conflict' end
  elseif count_of(name .. '\tCNAME') > 0 then
    return 'cname_conflict'
  end
  if not existing and count_of(kind) > 0 and (identifier == '' or text_of(kind .. '\t')) then
    return 'policy_conflict'
  end
  -- An alias to itself would be an alias to nothing once it replaces what is there.
  if target ~= '' and (target == kind or count_of(target) == 0) then return 'target_missing' end
end

local refused, lines = {'refused'}, {}
for at = FIRST, #ARGV, WIDTH do
  local action, key, text, target, reason = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local name, record_type, identifier = string.match(key, '^([^\t]*)\t([^\t]*)\t(.*)$')
  local kind = name .. '\t' .. record_type
  if reason == '' then
    if action == 'DELETE' then
      reason = why_not_delete(key, text)
    else
      reason = why_not_put(action, key, name, kind, identifier, target)
    end
  end
  if reason and reason ~= '' then
    refused[#refused + 1] = (at - FIRST) / WIDTH
    refused[#refused + 1] = reason
  elseif action == 'DELETE' then
    deleted[key] = true
    put(key, name, kind, false)
  else
    put(key, name, kind, text)
  end
  lines[#lines + 1] = action .. ' ' .. text
end
if #refused > 1 then return refused end

for _, key in ipairs(touched) do
  if texts[key] then
    redis.call('HSET', records, key, texts[key])
    redis.call('ZADD', order, 0, key)
  else
    redis.call('HDEL', records, key)
    redis.call('ZREM', order, key)
  end
end
for field, number in pairs(numbers) do
  if number > 0 then redis.call('HSET', counts, field, number) else redis.call('HDEL', counts, field) end
end
serial = serial + 1
-- %.0f: a number above 2^31 must not be written with an exponent.
local at_us = string.format('%.0f', now_us)
redis.call('HSET', meta, 'serial', serial, 'at_us', at_us, 'busy_until_us', string.format('%.0f', now_us + processing_us))
redis.call('XADD', stream, 'MAXLEN', '~', stream_limit, serial .. '-0', 'at_us', at_us, 'actor', actor,
  'operator', operator, 'generation', generation, 'comment', comment, 'changes', table.concat(lines, '\n'))
-- A hint and no more, which may be lost: who follows the zone reads its stream. A channel is no key, it has no slot.
redis.call('PUBLISH', 'zone-commits', ARGV[1] .. ' ' .. serial)
return {'committed', serial, at_us}
