-- Commit one change batch whole, or refuse it whole. Source: Route 53 API Reference, ChangeResourceRecordSets.
--
-- KEYS  records  hash: key of a record set -> its canonical text
--       order    sorted set of those keys, as ListResourceRecordSets orders them
--       counts   hash: "name" and "name<tab>type" -> how many record sets there are
--       meta     hash: serial and at_us of the last commit, busy_until_us
--       stream   one entry per committed batch, with the serial as its id
-- ARGV  zone, actor, operator (1 or 0), generation or "", comment, processing time in us, length of the stream,
--       create (1: the zone must not exist yet), runs, changes (lines `["ACTION",text]`, where text is the record set's
--       canonical one), how many fields of counts the rules ask for, those fields, the key of each change ("" if it can
--       never be valid), key of the zone's _frozen record
--       Runs are lines "<how many> <action> <earlier> <reason> <name<tab>type of the alias target or "">": changes that
--       follow each other, of which the same can be said. `earlier` is the last change before of the same record set, 0
--       if there is none; `reason` says why a change can never be valid, or "". A run is of several changes only where
--       they have one action, name and type, which is not CNAME, each a set identifier, and none of these three.
--
-- A key is "<reversed labels><tab><type><tab><set identifier>". Cost grows with the batch, never with the zone; all
-- that a batch needs is read, and what it makes of that is written, by a few commands with many arguments each. A batch
-- has 1,000 changes at most, so that no command gets more arguments than Lua's stack holds (8,000).
-- Replies: {"committed", serial, at_us} {"refused", index, reason, ...} {"frozen", text} {"busy"} {"no_zone"} {"exists"}

local records, order, counts, meta, stream = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local actor, operator, generation, comment = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local processing_us, stream_limit, creating = tonumber(ARGV[6]), ARGV[7], ARGV[8] == '1'
local runs, changes, field_count, FIELDS = ARGV[9], ARGV[10], tonumber(ARGV[11]), 11
-- Where the keys begin, behind the fields.
local AT = FIELDS + field_count

local head = redis.call('HMGET', meta, 'serial', 'busy_until_us')
local serial = tonumber(head[1] or 0)
if creating and head[1] then return {'exists'} end
if not creating and not head[1] then return {'no_zone'} end

local existing_texts = redis.call('HMGET', records, unpack(ARGV, AT + 1))
if operator ~= '1' then
  local frozen = existing_texts[#existing_texts]
  if frozen then return {'frozen', frozen} end
end

local now = redis.call('TIME')
local now_us = tonumber(now[1]) * 1000000 + tonumber(now[2])
if tonumber(head[2] or 0) > now_us then return {'busy'} end

-- The working copy: what the batch has made of the zone so far. Each change says what it has made of its record set: the
-- text that it left, or false, and whether any has deleted it by then; who comes later looks it up there.
local texts, deleted, overtaken = {}, {}, {}
local numbers, existing_numbers, has_simple = {}, {}, {}

if field_count > 0 then existing_numbers = redis.call('HMGET', counts, unpack(ARGV, FIELDS + 1, AT)) end
for index, number in ipairs(existing_numbers) do
  local count = tonumber(number or 0)
  if not count then return redis.error_reply('ERR a count is no number; nothing was written') end
  numbers[ARGV[FIELDS + index]] = count
end

-- What the changes of a run are about: most have the name and type of the run before.
local name, kind, cname, simple_key

local function look_at(key)
  if key == '' or (simple_key and string.sub(key, 1, #simple_key) == simple_key) then return end
  simple_key, kind, name = string.match(key, '^((([^\t]*)\t[^\t]*)\t)')
  cname = name .. '\tCNAME'
end

-- Say whether there is a record set of this kind without a set identifier.
local function is_simple()
  if has_simple[kind] == nil then has_simple[kind] = redis.call('HGET', records, simple_key) and true end
  return has_simple[kind]
end

-- Return why CREATE or UPSERT is refused where the record set is there, and why where it is not.
local function why_not_put(action, key, existing, target)
  local there, missing
  -- An alias to itself would be an alias to nothing once it replaces what is there.
  if target ~= '' and (target == kind or (numbers[target] or 0) == 0) then
    there, missing = 'target_missing', 'target_missing'
  end
  if numbers[kind] > 0 and (key == simple_key or is_simple()) then missing = 'policy_conflict' end
  local others = numbers[cname]
  if kind == cname then others = numbers[name] - (existing and 1 or 0) end
  if others > 0 then there, missing = 'cname_conflict', 'cname_conflict' end
  if action == 'CREATE' then there = 'exists' end
  return there, missing
end

local function why_not(action, key, earlier, existing, target)
  if action ~= 'DELETE' then return why_not_put(action, key, existing, target) end
  if deleted[earlier] then return 'deleted_twice', 'deleted_twice' end
  return nil, 'not_found'
end

local line_at = 1

local function next_text()
  local line_end = string.find(changes, '\n', line_at, true)
  local text = string.sub(changes, line_at + 10, line_end - 2)
  line_at = line_end + 1
  return text
end

-- The runs say of each change what it is about: those that leave any out, or speak of more, are of another batch.
local NOT_COVERED = 'ERR the runs do not cover exactly the changes; nothing was written'
local refused, last, given = {'refused'}, 0, #ARGV - AT - 1
for count, action, earlier, reason, target in string.gmatch(runs, '(%d+) (%u+) (%d+) ([%l_]*) ([^\n]*)\n') do
  local first, key, step = last + 1, ARGV[AT + last + 1], 0
  last, earlier = last + tonumber(count), tonumber(earlier)
  if last < first or last > given then return redis.error_reply(NOT_COVERED) end
  look_at(key)
  local existing = existing_texts[first]
  if earlier > 0 then existing, overtaken[earlier] = texts[earlier], true end
  local there, missing = reason, reason
  if reason == '' then there, missing = why_not(action, key, earlier, existing, target) end

  for index = first, last do
    local text, why = next_text(), missing
    if earlier == 0 then existing = existing_texts[index] end
    if existing then why = there end
    if not why and action == 'DELETE' and existing ~= text then why = 'mismatch' end
    if why then
      refused[#refused + 1] = index - 1
      refused[#refused + 1] = why
      texts[index] = existing
    elseif action == 'DELETE' then
      texts[index], deleted[index] = false, true
      step = step - 1
    else
      texts[index] = text
      if not existing then step = step + 1 end
    end
  end

  deleted[last] = deleted[last] or deleted[earlier]
  if step ~= 0 then
    numbers[name] = numbers[name] + step
    numbers[kind] = numbers[kind] + step
    if key == simple_key then has_simple[kind] = step > 0 end
  end
end
if last ~= given or line_at ~= #changes + 1 then return redis.error_reply(NOT_COVERED) end
if #refused > 1 then return refused end

serial = serial + 1
-- %.0f: a number above 2^31 must not be written with an exponent.
local at_us = string.format('%.0f', now_us)
-- An error ends a script and takes nothing back, so what damaged keys can refuse comes before all else: an order of
-- another type, and as the first write the entry, whose stream may have gone past this serial. All others were read.
redis.call('ZRANGEBYLEX', order, '-', '+', 'LIMIT', 0, 0)
redis.call('XADD', stream, 'MAXLEN', '~', stream_limit, serial .. '-0', 'at_us', at_us, 'actor', actor,
  'operator', operator, 'generation', generation, 'comment', comment, 'changes', changes)

-- What the batch has made of it, by one command of each kind; what is as it was is not written.
local set, added, gone = {}, {}, {}

local function append(list, first, second)
  local size = #list
  list[size + 1] = first
  list[size + 2] = second
end

for index = 1, last do
  if not overtaken[index] then
    local key, text = ARGV[AT + index], texts[index]
    if text then
      append(set, key, text)
      if not existing_texts[index] then append(added, '0', key) end
    elseif existing_texts[index] then
      gone[#gone + 1] = key
    end
  end
end
if #set > 0 then redis.call('HSET', records, unpack(set)) end
if #added > 0 then redis.call('ZADD', order, unpack(added)) end
if #gone > 0 then
  redis.call('HDEL', records, unpack(gone))
  redis.call('ZREM', order, unpack(gone))
end

local changed, empty = {}, {}
for index, before in ipairs(existing_numbers) do
  local field = ARGV[FIELDS + index]
  local number = numbers[field]
  if number > 0 and number ~= tonumber(before or 0) then
    append(changed, field, number)
  elseif number == 0 and before then
    empty[#empty + 1] = field
  end
end
if #changed > 0 then redis.call('HSET', counts, unpack(changed)) end
if #empty > 0 then redis.call('HDEL', counts, unpack(empty)) end

redis.call('HSET', meta, 'serial', serial, 'at_us', at_us)
if processing_us > 0 then redis.call('HSET', meta, 'busy_until_us', string.format('%.0f', now_us + processing_us)) end
-- A hint and no more, which may be lost: who follows the zone reads its stream. A channel is no key, it has no slot.
-- The batch is committed whether or not this user may publish: an error here must not be the answer to it.
redis.pcall('PUBLISH', 'zone-commits', ARGV[1] .. ' ' .. serial)
return {'committed', serial, at_us}
