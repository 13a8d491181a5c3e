-- Commit one change batch whole, or refuse it whole. Source: Route 53 API Reference, ChangeResourceRecordSets.
--
-- KEYS  records  hash: key of a record set -> its canonical text
--       order    sorted set of those keys, as ListResourceRecordSets orders them
--       counts   hash: "name" and "name<tab>type" -> how many record sets there are
--       meta     hash: serial and at_us of the last commit, busy_until_us
--       stream   one entry per committed batch, with the serial as its id
-- ARGV  zone, key of its _frozen record, actor, operator (1 or 0), generation or "", comment, processing time in us,
--       length of the stream, create (1: the zone must not exist yet), notes, then two for each change: key ("" if
--       it can never be valid) and `["ACTION",text]`, where text is the record set's canonical one
--       Notes are lines "<index> <reason why it can never be valid or ""> <name<tab>type of the alias target or "">".
--
-- A key is "<reversed labels><tab><type><tab><set identifier>". Cost grows with the batch, never with the zone; all
-- that a batch needs is read, and what it makes of that is written, by a few commands with many arguments each. A batch
-- has 1,000 changes at most, so that no command gets more arguments than Lua's stack holds (8,000).
-- Replies: {"committed", serial, at_us} {"refused", index, reason, ...} {"frozen", text} {"busy"} {"no_zone"} {"exists"}

local records, order, counts, meta, stream = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local frozen_key, actor, operator, generation, comment = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local processing_us, stream_limit, creating = tonumber(ARGV[7]), ARGV[8], ARGV[9] == '1'
local NOTES, FIRST, WIDTH = 10, 11, 2

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

-- Few changes have a note.
local reasons, targets = {}, {}
for index, reason, target in string.gmatch(ARGV[NOTES], '(%d+) ([%l_]*) ([^\n]*)\n') do
  reasons[index + 1] = reason ~= '' and reason or nil
  targets[index + 1] = target ~= '' and target or nil
end

-- What each change is about, and what is there of it: most changes have the name and type of the one before.
local keys, names, kinds, lines, fields, known = {}, {}, {}, {}, {}, {}

local function want(field)
  if known[field] then return end
  known[field] = true
  fields[#fields + 1] = field
end

local name, kind, prefix
for at = FIRST, #ARGV, WIDTH do
  local key, index = ARGV[at], #keys + 1
  if key ~= '' and (not prefix or string.sub(key, 1, #prefix) ~= prefix) then
    prefix, kind, name = string.match(key, '^((([^\t]*)\t[^\t]*)\t)')
    want(name)
    want(kind)
    want(name .. '\tCNAME')
  end
  if targets[index] then want(targets[index]) end
  keys[index], names[index], kinds[index], lines[index] = key, name, kind, ARGV[at + 1]
end

-- The working copy: what the batch has made of the zone so far.
local texts, numbers, deleted, touched = {}, {}, {}, {}

local existing_texts, existing_numbers = redis.call('HMGET', records, unpack(keys)), {}
for index, key in ipairs(keys) do texts[key] = existing_texts[index] end
if #fields > 0 then existing_numbers = redis.call('HMGET', counts, unpack(fields)) end
for index, field in ipairs(fields) do numbers[field] = tonumber(existing_numbers[index] or 0) end

local function text_of(key)
  if texts[key] == nil then texts[key] = redis.call('HGET', records, key) end
  return texts[key]
end

local function put(key, name, kind, text)
  local before = texts[key]
  local step = (text and 1 or 0) - (before and 1 or 0)
  if step ~= 0 then
    numbers[name] = numbers[name] + step
    numbers[kind] = numbers[kind] + step
  end
  texts[key] = text
  touched[key] = true
end

local function why_not_delete(key, text)
  if deleted[key] then return 'deleted_twice' end
  local existing = texts[key]
  if not existing then return 'not_found' end
  if existing ~= text then return 'mismatch' end
end

local function why_not_put(action, key, name, kind, target)
  local existing = texts[key]
  if action == 'CREATE' and existing then return 'exists' end
  if kind == name .. '\tCNAME' then
    if numbers[name] > (existing and 1 or 0) then return 'cname_conflict' end
  elseif numbers[name .. '\tCNAME'] > 0 then
    return 'cname_conflict'
  end
  if not existing and numbers[kind] > 0 and (#key == #kind + 1 or text_of(kind .. '\t')) then
    return 'policy_conflict'
  end
  -- An alias to itself would be an alias to nothing once it replaces what is there.
  if target and (target == kind or numbers[target] == 0) then return 'target_missing' end
end

local refused = {'refused'}
for index, line in ipairs(lines) do
  local key, name, kind, reason = keys[index], names[index], kinds[index], reasons[index]
  local action, text = string.sub(line, 3, 8), string.sub(line, 11, -2)
  if not reason then
    if action == 'DELETE' then
      reason = why_not_delete(key, text)
    else
      reason = why_not_put(action, key, name, kind, targets[index])
    end
  end
  if reason then
    refused[#refused + 1] = index - 1
    refused[#refused + 1] = reason
  elseif action == 'DELETE' then
    deleted[key] = true
    put(key, name, kind, false)
  else
    put(key, name, kind, text)
  end
end
if #refused > 1 then return refused end

-- What the batch has made of it, by one command of each kind; what is as it was is not written.
local set, unset, added, removed = {}, {}, {}, {}

local function append(list, first, second)
  local size = #list
  list[size + 1] = first
  list[size + 2] = second
end

for index, key in ipairs(keys) do
  if touched[key] then
    local text, before = texts[key], existing_texts[index]
    touched[key] = nil
    if text then
      append(set, key, text)
      if not before then append(added, '0', key) end
    elseif before then
      unset[#unset + 1] = key
      removed[#removed + 1] = key
    end
  end
end
if #set > 0 then redis.call('HSET', records, unpack(set)) end
if #added > 0 then redis.call('ZADD', order, unpack(added)) end
if #unset > 0 then redis.call('HDEL', records, unpack(unset)) end
if #removed > 0 then redis.call('ZREM', order, unpack(removed)) end

local changed, gone = {}, {}
for index, field in ipairs(fields) do
  local number, before = numbers[field], tonumber(existing_numbers[index] or 0)
  if number > 0 and number ~= before then
    append(changed, field, number)
  elseif number ~= before then
    gone[#gone + 1] = field
  end
end
if #changed > 0 then redis.call('HSET', counts, unpack(changed)) end
if #gone > 0 then redis.call('HDEL', counts, unpack(gone)) end

serial = serial + 1
-- %.0f: a number above 2^31 must not be written with an exponent.
local at_us = string.format('%.0f', now_us)
redis.call('HSET', meta, 'serial', serial, 'at_us', at_us, 'busy_until_us', string.format('%.0f', now_us + processing_us))
redis.call('XADD', stream, 'MAXLEN', '~', stream_limit, serial .. '-0', 'at_us', at_us, 'actor', actor,
  'operator', operator, 'generation', generation, 'comment', comment, 'changes', table.concat(lines, '\n'))
-- A hint and no more, which may be lost: who follows the zone reads its stream. A channel is no key, it has no slot.
-- The batch is committed whether or not this user may publish: an error here must not be the answer to it.
redis.pcall('PUBLISH', 'zone-commits', ARGV[1] .. ' ' .. serial)
return {'committed', serial, at_us}
