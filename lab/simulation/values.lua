-- The contents of the small server: values by key, in versions that share whatever has not changed.
--
-- A value is a table that versions of the contents share until one of them writes ("copy on write"):
--   hash    fields: field -> text, size                         names: fields in order, nil if not known
--   zset    fields: member -> score, size                       names: members in order, nil if not known
--   string  text
--   stream  entries[first .. last], append-only and shared      last_ms, last_seq: the last id ever used
-- `epoch` of a value is the one in which it was made: it may be changed in that epoch only. `digest` stands for its
-- contents, nil if not known. Readers see names in order: what nobody promises must not depend on how we got here.

local digest_of = ...

local MAX_EXACT = 9007199254740991
local WRONGTYPE = 'WRONGTYPE Operation against a key holding the wrong kind of value'

local values = {MAX_EXACT = MAX_EXACT}
local contents, epoch, ordered_keys = {}, 1, nil
local may_read, may_write = {}, {}
local undeclared = nil -- what the running call touched though it had not said so: no pcall can hide it

local function fail(text) error({err = text}, 0) end
values.fail = fail

-- Return a number as the server writes it: an integer plainly, anything else in as few digits as tell it apart.
function values.text_of(number)
  if number == math.floor(number) and math.abs(number) <= MAX_EXACT then return string.format('%.0f', number) end
  for digits = 15, 16 do
    local text = string.format('%.' .. digits .. 'g', number)
    if tonumber(text) == number then return text end
  end
  return string.format('%.17g', number)
end

-- Declared keys -----------------------------------------------------------------------------------------------------

function values.access(reads, writes)
  local access = {reads = {}, writes = {}}
  for _, key in ipairs(reads) do access.reads[key] = true end
  for _, key in ipairs(writes) do access.reads[key], access.writes[key] = true, true end
  return access
end

function values.grant(access) may_read, may_write = access.reads, access.writes end

function values.take_undeclared()
  local told = undeclared
  undeclared = nil
  return told
end

local function refuse(verb, key)
  undeclared = undeclared or (verb .. ' ' .. key)
  fail('ERR undeclared key ' .. key)
end

-- Return a key's value, nil if there is none, for reading. `kind` nil: of any type.
function values.to_read(key, kind)
  if not may_read[key] then refuse('read', key) end
  local value = contents[key]
  if value and kind and value.kind ~= kind then fail(WRONGTYPE) end
  return value
end

-- The same for writing, which goes through the functions below: the value may be shared.
function values.to_write(key, kind)
  if not may_write[key] then refuse('wrote', key) end
  local value = contents[key]
  if value and kind and value.kind ~= kind then fail(WRONGTYPE) end
  return value
end

-- Writing -----------------------------------------------------------------------------------------------------------

local function put(key, value)
  if not contents[key] then ordered_keys = nil end
  value.epoch = epoch
  contents[key] = value
  return value
end
values.put = put

local function drop(key)
  ordered_keys = nil
  contents[key] = nil
end
values.drop = drop

-- Return the value that may be changed in place, which stands for this one from now on.
local function own(key, value)
  if value.epoch == epoch then
    value.digest = nil
    return value
  end
  local copy = {}
  for name, part in pairs(value) do copy[name] = part end
  copy.digest = nil
  if value.fields then
    copy.fields = {}
    for field, content in pairs(value.fields) do copy.fields[field] = content end
  end
  return put(key, copy)
end

function values.put_fields(key, kind) return put(key, {kind = kind, fields = {}, size = 0}) end

-- Set a field of the hash, or a member of the sorted set, at a key; return whether it is one more.
function values.set_field(key, field, content)
  local value = contents[key]
  local before = value.fields[field]
  if before == content then return false end
  local mine = own(key, value)
  mine.fields[field] = content
  if before ~= nil then
    if mine.kind == 'zset' then mine.names = nil end
    return false
  end
  mine.names, mine.size = nil, mine.size + 1
  return true
end

-- Take a field from the hash or sorted set at a key, which goes with its last one; return whether it was there.
function values.unset_field(key, field)
  local value = contents[key]
  if value.fields[field] == nil then return false end
  local mine = own(key, value)
  mine.fields[field] = nil
  mine.names, mine.size = nil, mine.size - 1
  if mine.size == 0 then drop(key) end
  return true
end

local function by_name(names) table.sort(names) end

local function by_score(names, scores)
  table.sort(names, function(a, b)
    if scores[a] ~= scores[b] then return scores[a] < scores[b] end
    return a < b
  end)
end

-- Return a hash's fields by name, or a sorted set's members by score and name.
function values.names_of(value)
  if not value.names then
    local names = {}
    for name in pairs(value.fields) do names[#names + 1] = name end
    local order = value.kind == 'hash' and by_name or by_score
    order(names, value.fields)
    value.names = names
  end
  return value.names
end

-- Streams -----------------------------------------------------------------------------------------------------------

function values.no_stream()
  return {kind = 'stream', entries = {}, first = 1, last = 0, last_ms = 0, last_seq = 0}
end

-- Add an entry {ms, seq, id, fields} to the stream at a key; `most` is how many are to stay, nil for all.
function values.append(key, entry, most)
  local mine = contents[key] and own(key, contents[key]) or put(key, values.no_stream())
  if mine.entries[mine.last + 1] ~= nil then
    -- Another version of the stream has gone on from here by another way: it keeps the table.
    local entries = {}
    for at = mine.first, mine.last do entries[at] = mine.entries[at] end
    mine.entries = entries
  end
  mine.last = mine.last + 1
  mine.entries[mine.last] = entry
  mine.last_ms, mine.last_seq = entry.ms, entry.seq
  if most and mine.last - mine.first + 1 > most then
    mine.first = mine.last - most + 1
    mine.chained, mine.chain = nil, nil
  end
end

-- Take the entry at a place out of the stream at a key.
function values.cut_out(key, at)
  local mine = own(key, contents[key])
  mine.chained, mine.chain = nil, nil
  if at == mine.first then
    mine.first = at + 1
    return
  end
  local entries = {}
  for place = mine.first, at - 1 do entries[place] = mine.entries[place] end
  for place = at + 1, mine.last do entries[place - 1] = mine.entries[place] end
  mine.entries, mine.last = entries, mine.last - 1
end

function values.shown(entry)
  local fields = {}
  for at = 1, #entry.fields do fields[at] = entry.fields[at] end
  return {entry.id, fields}
end

-- Versions ----------------------------------------------------------------------------------------------------------

-- A snapshot is a table of values, none of which may be changed in place any more.
function values.snapshot()
  local copy = {}
  for key, value in pairs(contents) do copy[key] = value end
  epoch = epoch + 1
  return copy
end

function values.restore(snapshot)
  local copy = {}
  for key, value in pairs(snapshot) do copy[key] = value end
  contents, epoch, ordered_keys = copy, epoch + 1, nil
end

-- Put back one hash slot alone, as a failover does that has lost its last writes.
function values.restore_slot(snapshot, slot)
  local prefix = '{' .. slot .. '}:'
  local function within(key) return string.sub(key, 1, #prefix) == prefix end
  for key in pairs(contents) do
    if within(key) then contents[key] = nil end
  end
  for key, value in pairs(snapshot) do
    if within(key) then contents[key] = value end
  end
  epoch, ordered_keys = epoch + 1, nil
end

function values.flush() contents, epoch, ordered_keys = {}, epoch + 1, nil end

function values.key_names()
  if not ordered_keys then
    ordered_keys = {}
    for key in pairs(contents) do ordered_keys[#ordered_keys + 1] = key end
    table.sort(ordered_keys)
  end
  return ordered_keys
end

-- Every text with its length before it: no two contents are written alike.
local function framed(text) return #text .. ':' .. text end

local function entry_text(entry)
  local parts = {entry.id}
  for at = 1, #entry.fields do parts[at + 1] = framed(entry.fields[at]) end
  return table.concat(parts, ' ')
end

-- A stream's digest is chained from entry to entry, so that one more costs no more than itself.
local function digest_stream(value)
  local from, chain = value.chained or value.first - 1, value.chain or ''
  for at = from + 1, value.last do chain = digest_of(chain .. entry_text(value.entries[at])) end
  value.chained, value.chain = value.last, chain
  return digest_of(string.format('stream %.0f-%.0f %s', value.last_ms, value.last_seq, chain))
end

local function digest_value(value)
  if value.kind == 'string' then return digest_of('string ' .. value.text) end
  if value.kind == 'stream' then return digest_stream(value) end
  local parts = {value.kind}
  for _, name in ipairs(values.names_of(value)) do
    local content = value.fields[name]
    parts[#parts + 1] = framed(name)
    parts[#parts + 1] = framed(type(content) == 'number' and values.text_of(content) or content)
  end
  return digest_of(table.concat(parts, ' '))
end

-- Return a text that stands for the contents, keys in `skip` apart.
function values.fingerprint(skip)
  local parts = {}
  for _, key in ipairs(values.key_names()) do
    if not skip[key] then
      local value = contents[key]
      value.digest = value.digest or digest_value(value)
      parts[#parts + 1] = framed(key)
      parts[#parts + 1] = value.digest
    end
  end
  return table.concat(parts)
end

-- Return the value at a key, its kind first, flat, for Python.
function values.shown_value(key)
  local value, flat = contents[key], {}
  if value.kind == 'string' then return {value.kind, value.text} end
  if value.kind == 'stream' then
    for at = value.first, value.last do flat[#flat + 1] = values.shown(value.entries[at]) end
    return {value.kind, string.format('%.0f-%.0f', value.last_ms, value.last_seq), flat}
  end
  for _, name in ipairs(values.names_of(value)) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value.fields[name]
  end
  return {value.kind, flat}
end

return values
