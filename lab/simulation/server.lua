-- A small stand-in for the real server: the commands that the shipped scripts and adapters use, over Lua tables.
-- Source: Redis 6.2 command reference, RESP2; tests/simulation/test_differential.py holds it equal to the real server.
--
-- A value is a table that versions of the database share until one of them writes ("copy on write"):
--   hash    fields: field -> text, size                         names: fields in order, nil if not known
--   zset    fields: member -> score, size                       names: members in order, nil if not known
--   string  text
--   stream  entries[first .. last], append-only and shared      last_ms, last_seq: the last id ever used
-- `epoch` of a value is the one in which it was made: it may be changed in that epoch only. `digest` stands for its
-- contents, nil if not known. Readers see names in order: what nobody promises must not depend on how we got here.

local digest_of = ...

local MAX_EXACT = 9007199254740991
local WRONGTYPE = 'WRONGTYPE Operation against a key holding the wrong kind of value'
local NO_INTEGER = 'ERR value is not an integer or out of range'
local NO_HASH_INTEGER = 'ERR hash value is not an integer'
local NO_FLOAT = 'ERR value is not a valid float'
local NO_STREAM_ID = 'ERR Invalid stream ID specified as stream command argument'
local SYNTAX = 'ERR syntax error'
local OK = {ok = 'OK'}

local database, epoch, ordered_keys = {}, 1, nil
local now_us, may_read, may_write = 0, {}, {}
local undeclared = nil -- what the running script touched though it had not said so: no pcall can hide it

local function fail(text) error({err = text}, 0) end

-- Arguments ---------------------------------------------------------------------------------------------------------

local function text_of_number(number)
  if number == math.floor(number) and math.abs(number) <= MAX_EXACT then return string.format('%.0f', number) end
  for digits = 15, 16 do
    local text = string.format('%.' .. digits .. 'g', number)
    if tonumber(text) == number then return text end
  end
  return string.format('%.17g', number)
end

local function str(value)
  if type(value) == 'string' then return value end
  if type(value) == 'number' then return text_of_number(value) end
  fail('ERR Lua redis lib command arguments must be strings or integers')
end

-- Return the number that a text is the canonical form of, as the server reads integers: no plus, space or zero to spare.
local function integer(text, problem)
  local number = string.find(text, '^-?%d+$') and tonumber(text)
  if not number or text_of_number(number) ~= text then
    if number and #text > 15 and #text < 20 then fail('ERR ' .. text .. ' is not exact in this small server') end
    fail(problem or NO_INTEGER)
  end
  return number
end

-- Values ------------------------------------------------------------------------------------------------------------

local function refuse(verb, key)
  undeclared = undeclared or (verb .. ' ' .. key)
  fail('ERR undeclared key ' .. key)
end

local function to_read(key, kind)
  if not may_read[key] then refuse('read', key) end
  local value = database[key]
  if value and kind and value.kind ~= kind then fail(WRONGTYPE) end
  return value
end

local function to_write(key, kind)
  if not may_write[key] then refuse('wrote', key) end
  local value = database[key]
  if value and kind and value.kind ~= kind then fail(WRONGTYPE) end
  return value
end

local function put(key, value)
  if not database[key] then ordered_keys = nil end
  value.epoch = epoch
  database[key] = value
  return value
end

local function drop(key)
  ordered_keys = nil
  database[key] = nil
end

-- Return a value that may be changed in place, in the stead of one that is there.
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
    for field, text in pairs(value.fields) do copy.fields[field] = text end
  end
  return put(key, copy)
end

local function names_of(value)
  if not value.names then
    local names, fields = {}, value.fields
    for field in pairs(fields) do names[#names + 1] = field end
    if value.kind == 'hash' then
      table.sort(names)
    else
      table.sort(names, function(a, b)
        if fields[a] ~= fields[b] then return fields[a] < fields[b] end
        return a < b
      end)
    end
    value.names = names
  end
  return value.names
end

local function set_field(key, value, field, content)
  local before = value.fields[field]
  if before == content then return false end
  local mine = own(key, value)
  mine.fields[field] = content
  if before == nil or mine.kind == 'zset' then mine.names = nil end
  if before == nil then mine.size = mine.size + 1 end
  return before == nil
end

local function unset_field(key, value, field)
  if value.fields[field] == nil then return false end
  local mine = own(key, value)
  mine.fields[field] = nil
  mine.names, mine.size = nil, mine.size - 1
  if mine.size == 0 then drop(key) end
  return true
end

local function unset_fields(key, value, ...)
  local count = 0
  for at = 1, select('#', ...) do
    local field = select(at, ...)
    -- Each may have put another table in the value's place, the last one none at all.
    if database[key] and unset_field(key, database[key], field) then count = count + 1 end
  end
  return count
end

-- Stream ids --------------------------------------------------------------------------------------------------------

local function id_text(ms, seq) return string.format('%.0f-%.0f', ms, seq) end

local function part_of_id(text)
  if not string.find(text, '^%d+$') then fail(NO_STREAM_ID) end
  local number = tonumber(text)
  if number > MAX_EXACT then fail('ERR stream id ' .. text .. ' is not exact in this small server') end
  return number
end

local function id_of(text, missing_seq)
  local ms, seq = string.match(text, '^([^-]*)-(.*)$')
  if not ms then return part_of_id(text), missing_seq end
  return part_of_id(ms), part_of_id(seq)
end

local function is_less(ms, seq, other_ms, other_seq)
  if ms ~= other_ms then return ms < other_ms end
  return seq < other_seq
end

-- Return where the first entry at or after an id stands.
local function place_of(stream, ms, seq)
  local low, high = stream.first, stream.last + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    local entry = stream.entries[middle]
    if is_less(entry.ms, entry.seq, ms, seq) then low = middle + 1 else high = middle end
  end
  return low
end

local function start_of(stream, text)
  if text == '-' then return stream.first end
  if text == '+' then return stream.last + 1 end
  local exclusive = string.sub(text, 1, 1) == '('
  local ms, seq = id_of(exclusive and string.sub(text, 2) or text, 0)
  return place_of(stream, ms, exclusive and seq + 1 or seq)
end

local function end_of(stream, text)
  if text == '+' then return stream.last end
  if text == '-' then return stream.first - 1 end
  local exclusive = string.sub(text, 1, 1) == '('
  local ms, seq = id_of(exclusive and string.sub(text, 2) or text, MAX_EXACT)
  return place_of(stream, ms, exclusive and seq or seq + 1) - 1
end

local function shown(entry)
  local fields = {}
  for at = 1, #entry.fields do fields[at] = entry.fields[at] end
  return {entry.id, fields}
end

local NO_STREAM = {kind = 'stream', entries = {}, first = 1, last = 0, last_ms = 0, last_seq = 0}

-- Return entries of a range, forwards or backwards. `rest` is nothing or COUNT and a number.
local function range(key, from, to, backwards, rest, count)
  local most = MAX_EXACT
  if rest ~= nil then
    if string.upper(rest) ~= 'COUNT' or count == nil then fail(SYNTAX) end
    most = math.max(0, integer(count))
  end
  local stream = to_read(key, 'stream')
  -- A bad id is an error even where there is no stream.
  local first, last = start_of(stream or NO_STREAM, from), end_of(stream or NO_STREAM, to)
  local reply = {}
  if not stream then return reply end
  if backwards then
    for at = last, math.max(first, last - most + 1), -1 do reply[#reply + 1] = shown(stream.entries[at]) end
  else
    for at = first, math.min(last, first + most - 1) do reply[#reply + 1] = shown(stream.entries[at]) end
  end
  return reply
end

local function append(key, stream, entry)
  local mine = stream and own(key, stream) or put(key, {
    kind = 'stream', entries = {}, first = 1, last = 0, last_ms = 0, last_seq = 0,
  })
  if mine.entries[mine.last + 1] ~= nil then
    -- Another version of the stream has gone on from here by another way: it keeps the table.
    local entries = {}
    for at = mine.first, mine.last do entries[at] = mine.entries[at] end
    mine.entries = entries
  end
  mine.last = mine.last + 1
  mine.entries[mine.last] = entry
  mine.last_ms, mine.last_seq = entry.ms, entry.seq
  return mine
end

local function cut_out(key, stream, at)
  local mine = own(key, stream)
  mine.chained, mine.chain = nil, nil
  if at == mine.first then
    mine.first = at + 1
    return
  end
  local entries = {}
  for place = mine.first, mine.last do entries[place < at and place or place - 1] = mine.entries[place] end
  -- The last one was written to its new place, too: it must not be there for `append` to find.
  entries[mine.last] = nil
  mine.entries, mine.last = entries, mine.last - 1
end

-- Commands: name -> {fewest, most arguments behind the name, function} ----------------------------------------------

local MANY = 100000
local commands = {}

local function command(name, fewest, most, run) commands[name] = {fewest, most, run} end

command('TIME', 0, 0, function()
  local seconds = math.floor(now_us / 1000000)
  return {text_of_number(seconds), text_of_number(now_us - seconds * 1000000)}
end)

command('EXISTS', 1, MANY, function(...)
  local count = 0
  for at = 1, select('#', ...) do
    if to_read((select(at, ...))) then count = count + 1 end
  end
  return count
end)

command('DEL', 1, MANY, function(...)
  local count = 0
  for at = 1, select('#', ...) do
    local key = (select(at, ...))
    if to_write(key) then
      drop(key)
      count = count + 1
    end
  end
  return count
end)

command('GET', 1, 1, function(key)
  local value = to_read(key, 'string')
  return value and value.text or false
end)

command('SET', 2, 2, function(key, text)
  to_write(key)
  put(key, {kind = 'string', text = text})
  return OK
end)

command('HGET', 2, 2, function(key, field)
  local value = to_read(key, 'hash')
  return value and value.fields[field] or false
end)

command('HMGET', 2, MANY, function(key, ...)
  local value = to_read(key, 'hash')
  local reply = {}
  for at = 1, select('#', ...) do reply[at] = value and value.fields[(select(at, ...))] or false end
  return reply
end)

command('HGETALL', 1, 1, function(key)
  local value = to_read(key, 'hash')
  local reply = {}
  if not value then return reply end
  for index, field in ipairs(names_of(value)) do
    reply[2 * index - 1] = field
    reply[2 * index] = value.fields[field]
  end
  return reply
end)

local function hash_to_write(key)
  return to_write(key, 'hash') or put(key, {kind = 'hash', fields = {}, size = 0})
end

command('HSET', 3, MANY, function(key, ...)
  if select('#', ...) % 2 == 1 then fail("ERR wrong number of arguments for 'hset' command") end
  hash_to_write(key)
  local added = 0
  for at = 1, select('#', ...), 2 do
    local field, text = select(at, ...)
    if set_field(key, database[key], field, text) then added = added + 1 end
  end
  return added
end)

command('HSETNX', 3, 3, function(key, field, text)
  local value = hash_to_write(key)
  if value.fields[field] ~= nil then return 0 end
  set_field(key, value, field, text)
  return 1
end)

command('HDEL', 2, MANY, function(key, ...)
  local value = to_write(key, 'hash')
  return value and unset_fields(key, value, ...) or 0
end)

command('HINCRBY', 3, 3, function(key, field, step)
  local by = integer(step)
  local value = to_write(key, 'hash')
  local before = value and value.fields[field]
  local after = (before and integer(before, NO_HASH_INTEGER) or 0) + by
  if math.abs(after) > MAX_EXACT then fail('ERR ' .. after .. ' is not exact in this small server') end
  set_field(key, hash_to_write(key), field, text_of_number(after))
  return after
end)

command('ZADD', 3, MANY, function(key, ...)
  if select('#', ...) % 2 == 1 then fail(SYNTAX) end
  local pairs_of = {...}
  for at = 1, #pairs_of, 2 do
    pairs_of[at] = tonumber(pairs_of[at]) or fail(NO_FLOAT)
  end
  if not to_write(key, 'zset') then put(key, {kind = 'zset', fields = {}, size = 0}) end
  local added = 0
  for at = 1, #pairs_of, 2 do
    if set_field(key, database[key], pairs_of[at + 1], pairs_of[at]) then added = added + 1 end
  end
  return added
end)

command('ZREM', 2, MANY, function(key, ...)
  local value = to_write(key, 'zset')
  return value and unset_fields(key, value, ...) or 0
end)

-- Return the bound's kind and text: '-', '+', '[' or '('.
local function bound(text)
  local kind = string.sub(text, 1, 1)
  if kind == '[' or kind == '(' or text == '-' or text == '+' then return kind, string.sub(text, 2) end
  fail('ERR min or max not valid string range item')
end

local function is_from(kind, text, member)
  if kind == '[' then return member >= text end
  if kind == '(' then return member > text end
  return kind == '-'
end

local function is_to(kind, text, member)
  if kind == '[' then return member <= text end
  if kind == '(' then return member < text end
  return kind == '+'
end

command('ZRANGEBYLEX', 3, 6, function(key, from, to, limit, offset, count)
  local skip, most = 0, -1
  if limit ~= nil then
    if string.upper(limit) ~= 'LIMIT' or count == nil then fail(SYNTAX) end
    skip, most = integer(offset), integer(count)
  end
  local from_kind, from_text = bound(from)
  local to_kind, to_text = bound(to)
  local value = to_read(key, 'zset')
  local reply = {}
  if not value or skip < 0 then return reply end
  local names = names_of(value)
  local low, high = 1, #names + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_from(from_kind, from_text, names[middle]) then high = middle else low = middle + 1 end
  end
  for at = low + skip, #names do
    if #reply == most or not is_to(to_kind, to_text, names[at]) then break end
    reply[#reply + 1] = names[at]
  end
  return reply
end)

-- Return how many entries are to stay at most, nil for all, and where the id stands among the arguments.
-- "~" may leave any number more, as the real server does with streams that fit into one of its nodes: it trims nothing.
local function trimming(arguments)
  if string.upper(arguments[1]) ~= 'MAXLEN' then return nil, 1 end
  local at = 2
  local about = arguments[at] == '~'
  if about or arguments[at] == '=' then at = at + 1 end
  local most = integer(arguments[at] or '')
  if most < 0 then fail('ERR The MAXLEN argument must be >= 0.') end
  return not about and most or nil, at + 1
end

command('XADD', 4, MANY, function(key, ...)
  local arguments = {...}
  local most, at = trimming(arguments)
  local id, count = arguments[at], #arguments - at
  if count < 2 or count % 2 == 1 then fail("ERR wrong number of arguments for 'xadd' command") end
  local ms, seq = id_of(id, 0)
  if ms == 0 and seq == 0 then fail('ERR The ID specified in XADD must be greater than 0-0') end
  local stream = to_write(key, 'stream')
  if stream and not is_less(stream.last_ms, stream.last_seq, ms, seq) then
    fail('ERR The ID specified in XADD is equal or smaller than the target stream top item')
  end
  local fields = {}
  for from = 1, count do fields[from] = arguments[at + from] end
  stream = append(key, stream, {ms = ms, seq = seq, id = id_text(ms, seq), fields = fields})
  if most and stream.last - stream.first + 1 > most then
    stream.first = stream.last - most + 1
    stream.chained, stream.chain = nil, nil
  end
  return id_text(ms, seq)
end)

command('XLEN', 1, 1, function(key)
  local stream = to_read(key, 'stream')
  return stream and stream.last - stream.first + 1 or 0
end)

command('XRANGE', 3, 5, function(key, from, to, rest, count) return range(key, from, to, false, rest, count) end)

command('XREVRANGE', 3, 5, function(key, to, from, rest, count) return range(key, from, to, true, rest, count) end)

command('XDEL', 2, MANY, function(key, ...)
  local ids = {}
  for at = 1, select('#', ...) do
    local ms, seq = id_of((select(at, ...)), 0)
    ids[at] = {ms, seq}
  end
  local count = 0
  local stream = to_write(key, 'stream')
  for _, id in ipairs(stream and ids or {}) do
    stream = database[key]
    local at = place_of(stream, id[1], id[2])
    local entry = at <= stream.last and stream.entries[at]
    if entry and entry.ms == id[1] and entry.seq == id[2] then
      cut_out(key, stream, at)
      count = count + 1
    end
  end
  return count
end)

-- XREAD [COUNT n] [BLOCK ms] STREAMS key ... id ...: it never waits here; who calls it waits in virtual time.
command('XREAD', 3, MANY, function(...)
  local arguments = {...}
  local most, at = MAX_EXACT, 1
  while arguments[at] and string.upper(arguments[at]) ~= 'STREAMS' do
    local option = string.upper(arguments[at])
    if option ~= 'COUNT' and option ~= 'BLOCK' then fail(SYNTAX) end
    local number = integer(arguments[at + 1] or '')
    if option == 'COUNT' and number > 0 then most = number end
    at = at + 2
  end
  local width = (#arguments - at) / 2
  if width < 1 then fail(SYNTAX) end
  if width ~= math.floor(width) then
    fail("ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified.")
  end
  local reply = {}
  for place = at + 1, at + width do
    local ms, seq = id_of(arguments[place + width], 0)
    local stream = to_read(arguments[place], 'stream') or NO_STREAM
    local first, entries = place_of(stream, ms, seq + 1), {}
    for from = first, math.min(stream.last, first + most - 1) do entries[#entries + 1] = shown(stream.entries[from]) end
    if #entries > 0 then reply[#reply + 1] = {arguments[place], entries} end
  end
  return #reply > 0 and reply or false
end)

-- What a script sees ------------------------------------------------------------------------------------------------

local function call(name, ...)
  local found = commands[name] or commands[string.upper(str(name))]
  if not found then fail('ERR ' .. str(name) .. ': lab/simulation/server.lua does not have this command; add it') end
  local count = select('#', ...)
  if count < found[1] or count > found[2] then fail('ERR Wrong number of args calling command from script') end
  if count == 2 then
    local first, second = ...
    return found[3](str(first), str(second))
  end
  local arguments = {...}
  for at = 1, count do arguments[at] = str(arguments[at]) end
  return found[3](unpack(arguments, 1, count))
end

local function pcall_of_command(...)
  local good, reply = pcall(call, ...)
  if good or type(reply) == 'table' then return reply end
  return {err = tostring(reply)}
end

-- Let nobody assign to a table: a script must leave nothing behind for the next one.
local function sealed(contents, name)
  local function refuse_write(_, field)
    fail('ERR Attempt to modify a readonly table: ' .. name .. '.' .. tostring(field))
  end
  return setmetatable({}, {__index = contents, __newindex = refuse_write, __metatable = false})
end

local function status(text) return {ok = text} end
local function failure(text) return {err = string.find(text, '^-') and string.sub(text, 2) or 'ERR ' .. text} end

-- Chance and the clock are left out: what a script does follows from its arguments, the data and TIME.
local pure_math = {}
for name, part in pairs(math) do pure_math[name] = part end
pure_math.random, pure_math.randomseed = nil, nil

local globals = {
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, pcall = pcall, rawequal = rawequal,
  select = select, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack, xpcall = xpcall,
  string = sealed(string, 'string'), table = sealed(table, 'table'), math = sealed(pure_math, 'math'),
  bit = sealed(bit, 'bit'),
  redis = sealed({call = call, pcall = pcall_of_command, status_reply = status, error_reply = failure}, 'redis'),
}
setmetatable(globals, {__index = function(_, name)
  fail("ERR Script attempted to access nonexistent global variable '" .. tostring(name) .. "'")
end})
local environment = sealed(globals, '_G')

-- Replies: `run` returns what it is and its parts, so that Python gets all of them at once ---------------------------

local SCALAR, LIST, NESTED, LARGE, FAILED, UNDECLARED = 0, 1, 2, 3, 4, 5
local MOST_AT_ONCE = 200
local unpack, truncate = unpack, function(number) return number < 0 and math.ceil(number) or math.floor(number) end

-- Return a Lua value as the protocol has it, tables apart.
local function plain(value)
  local kind = type(value)
  if kind == 'string' then return value end
  if kind == 'number' then return truncate(value) end
  return value == true and 1 or nil
end

-- Write a value's tokens behind each other: a list is `true`, its length and its items.
local function flatten(value, tokens, count)
  if type(value) ~= 'table' then
    tokens[count + 1] = plain(value)
    return count + 1
  end
  if value.err then fail('ERR a list with an error in it: ' .. tostring(value.err)) end
  if value.ok then
    tokens[count + 1] = value.ok
    return count + 1
  end
  local at = count + 2
  tokens[count + 1] = true
  local size = 0
  while value[size + 1] ~= nil do
    size = size + 1
    at = flatten(value[size], tokens, at)
  end
  tokens[count + 2] = size
  return at
end

local function answer(value)
  if type(value) ~= 'table' then return SCALAR, plain(value) end
  if value.err then return FAILED, value.err end
  if value.ok then return SCALAR, value.ok end
  local tokens, size = {}, 0
  while value[size + 1] ~= nil do
    local item = value[size + 1]
    if type(item) == 'table' then
      local count = flatten(value, tokens, 0)
      if count > MOST_AT_ONCE then return LARGE, tokens, count end
      return NESTED, unpack(tokens, 1, count)
    end
    size = size + 1
    tokens[size] = plain(item)
  end
  if size > MOST_AT_ONCE then
    local count = flatten(value, tokens, 0)
    return LARGE, tokens, count
  end
  -- The length keeps Python from getting a bare value where the list is empty.
  return LIST, size, unpack(tokens, 1, size)
end

local function outcome(good, value)
  if undeclared then
    local told = undeclared
    undeclared = nil
    return UNDECLARED, told
  end
  if good then return answer(value) end
  if type(value) == 'table' and value.err then return FAILED, value.err end
  return FAILED, 'ERR ' .. tostring(value)
end

-- What Python calls -------------------------------------------------------------------------------------------------

local server, scripts = {}, {}

function server.compile(text)
  local chunk, problem = loadstring('local KEYS, ARGV = ... ' .. text, '@user_script')
  if not chunk then return nil, problem end
  scripts[#scripts + 1] = setfenv(chunk, environment)
  return #scripts
end

function server.access(reads, writes)
  local access = {reads = {}, writes = {}}
  for _, key in ipairs(reads) do access.reads[key] = true end
  for _, key in ipairs(writes) do access.reads[key], access.writes[key] = true, true end
  return access
end

local function begin(at_us, access) now_us, may_read, may_write = at_us, access.reads, access.writes end

function server.run(script, at_us, access, key_count, ...)
  begin(at_us, access)
  local keys, arguments = {}, {...}
  if key_count == #arguments then
    keys, arguments = arguments, {}
  elseif key_count > 0 then
    keys, arguments = {unpack(arguments, 1, key_count)}, {unpack(arguments, key_count + 1)}
  end
  return outcome(pcall(scripts[script], keys, arguments))
end

function server.run_large(script, at_us, access, keys, arguments)
  begin(at_us, access)
  return outcome(pcall(scripts[script], keys, arguments))
end

function server.command(name, at_us, access, ...)
  begin(at_us, access)
  return outcome(pcall(call, name, ...))
end

-- A snapshot is the table of values itself: from now on none of them may be changed in place.
function server.snapshot()
  local copy = {}
  for key, value in pairs(database) do copy[key] = value end
  epoch = epoch + 1
  return copy
end

function server.restore(snapshot)
  local copy = {}
  for key, value in pairs(snapshot) do copy[key] = value end
  database, epoch, ordered_keys = copy, epoch + 1, nil
end

-- Put back one hash slot alone, as a failover does that has lost its last writes.
function server.restore_slot(snapshot, slot)
  local prefix = '{' .. slot .. '}:'
  local function within(key) return string.sub(key, 1, #prefix) == prefix end
  for key in pairs(database) do
    if within(key) then database[key] = nil end
  end
  for key, value in pairs(snapshot) do
    if within(key) then database[key] = value end
  end
  epoch, ordered_keys = epoch + 1, nil
end

function server.flush() database, epoch, ordered_keys = {}, epoch + 1, nil end

local function keys_in_order()
  if not ordered_keys then
    ordered_keys = {}
    for key in pairs(database) do ordered_keys[#ordered_keys + 1] = key end
    table.sort(ordered_keys)
  end
  return ordered_keys
end

-- Every text with its length before it: no two contents can be written alike.
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
  return digest_of('stream ' .. id_text(value.last_ms, value.last_seq) .. ' ' .. chain)
end

local function digest_value(value)
  if value.kind == 'string' then return digest_of('string ' .. value.text) end
  if value.kind == 'stream' then return digest_stream(value) end
  local parts = {value.kind}
  for _, name in ipairs(names_of(value)) do
    parts[#parts + 1] = framed(name)
    parts[#parts + 1] = framed(str(value.fields[name]))
  end
  return digest_of(table.concat(parts, ' '))
end

function server.fingerprint(skip)
  local parts = {}
  for _, key in ipairs(keys_in_order()) do
    if not skip[key] then
      local value = database[key]
      value.digest = value.digest or digest_value(value)
      parts[#parts + 1] = framed(key)
      parts[#parts + 1] = value.digest
    end
  end
  return table.concat(parts)
end

-- Return a value's kind and all that is in it, flat, for Python.
function server.contents(key)
  local value, flat = database[key], {}
  if value.kind == 'string' then return {value.kind, value.text} end
  if value.kind == 'stream' then
    local entries = {}
    for at = value.first, value.last do entries[#entries + 1] = shown(value.entries[at]) end
    return {value.kind, id_text(value.last_ms, value.last_seq), entries}
  end
  for _, name in ipairs(names_of(value)) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value.fields[name]
  end
  return {value.kind, flat}
end

function server.key_names() return keys_in_order() end

return server
