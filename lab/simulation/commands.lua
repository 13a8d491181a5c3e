-- The commands that the shipped scripts and adapters use, as the real server carries them out.
-- Source: Redis 6.2 command reference; tests/simulation/test_server.py holds each equal to the real server.
--
-- commands[name] = {run, fewest, most} arguments. `run` gets them as texts, one by one; `listed` ones, which may have
-- any number, get one table of them, but for the number that they mostly have: that goes to `two` or `three`.
-- A reply is what a script sees: missing is false.

local values = ...
local fail, to_read, to_write = values.fail, values.to_read, values.to_write
local text_of, names_of = values.text_of, values.names_of
local set_field, unset_field = values.set_field, values.unset_field
local MAX_EXACT = values.MAX_EXACT

local NO_INTEGER = 'ERR value is not an integer or out of range'
local NO_STREAM_ID = 'ERR Invalid stream ID specified as stream command argument'
local SYNTAX = 'ERR syntax error'
local OK = {ok = 'OK'}

local commands, clock = {}, {now_us = 0}
local time_us, time_reply = nil, nil

local function fixed(name, fewest, most, run)
  commands[name] = {run = run, fewest = fewest, most = most, two = most == 2 and run, three = most == 3 and run}
end

local function listed(name, fewest, run) commands[name] = {run = run, fewest = fewest, most = 1e9, listed = true} end

-- Return the integer that a text is the canonical form of, the only one that the server takes: no "+", space or "007".
local function integer(text, problem)
  local number = string.find(text, '^-?%d+$') and tonumber(text)
  if number and text_of(number) == text then return number end
  if number and math.abs(number) > MAX_EXACT and #text < 20 then
    fail('ERR ' .. text .. ' is not exact in this small server')
  end
  fail(problem or NO_INTEGER)
end

-- Keys and strings --------------------------------------------------------------------------------------------------

fixed('TIME', 0, 0, function()
  if time_us ~= clock.now_us then
    time_us = clock.now_us
    local seconds = math.floor(time_us / 1000000)
    time_reply = {text_of(seconds), text_of(time_us - seconds * 1000000)}
  end
  return {time_reply[1], time_reply[2]}
end)

listed('EXISTS', 1, function(keys)
  local count = 0
  for at = 1, #keys do
    if to_read(keys[at]) then count = count + 1 end
  end
  return count
end)

listed('DEL', 1, function(keys)
  local count = 0
  for at = 1, #keys do
    if to_write(keys[at]) then
      values.drop(keys[at])
      count = count + 1
    end
  end
  return count
end)

fixed('GET', 1, 1, function(key)
  local value = to_read(key, 'string')
  return value and value.text or false
end)

fixed('SET', 2, 2, function(key, text)
  to_write(key)
  values.put(key, {kind = 'string', text = text})
  return OK
end)

-- Nobody listens here: who follows zones is not simulated.
fixed('PUBLISH', 2, 2, function() return 0 end)

-- Hashes ------------------------------------------------------------------------------------------------------------

fixed('HGET', 2, 2, function(key, field)
  local value = to_read(key, 'hash')
  return value and value.fields[field] or false
end)

listed('HMGET', 2, function(arguments)
  local value = to_read(arguments[1], 'hash')
  local reply = {}
  for at = 2, #arguments do reply[at - 1] = value and value.fields[arguments[at]] or false end
  return reply
end)

fixed('HGETALL', 1, 1, function(key)
  local value = to_read(key, 'hash')
  local reply = {}
  for index, field in ipairs(value and names_of(value) or reply) do
    reply[2 * index - 1] = field
    reply[2 * index] = value.fields[field]
  end
  return reply
end)

listed('HSET', 3, function(arguments)
  if #arguments % 2 == 0 then fail("ERR wrong number of arguments for 'hset' command") end
  local key, added = arguments[1], 0
  if not to_write(key, 'hash') then values.put_fields(key, 'hash') end
  for at = 2, #arguments, 2 do
    if set_field(key, arguments[at], arguments[at + 1]) then added = added + 1 end
  end
  return added
end)

fixed('HSETNX', 3, 3, function(key, field, text)
  local value = to_write(key, 'hash') or values.put_fields(key, 'hash')
  if value.fields[field] ~= nil then return 0 end
  set_field(key, field, text)
  return 1
end)

commands.HSET.three = function(key, field, text)
  if not to_write(key, 'hash') then values.put_fields(key, 'hash') end
  return set_field(key, field, text) and 1 or 0
end

listed('HDEL', 2, function(arguments)
  local key, count = arguments[1], 0
  for at = 2, #arguments do
    if to_write(key, 'hash') and unset_field(key, arguments[at]) then count = count + 1 end
  end
  return count
end)

commands.HDEL.two = function(key, field) return to_write(key, 'hash') and unset_field(key, field) and 1 or 0 end

fixed('HINCRBY', 3, 3, function(key, field, step)
  local by = integer(step)
  local value = to_write(key, 'hash')
  local before = value and value.fields[field]
  local after = (before and integer(before, 'ERR hash value is not an integer') or 0) + by
  if math.abs(after) > MAX_EXACT then fail('ERR ' .. after .. ' is not exact in this small server') end
  if not value then values.put_fields(key, 'hash') end
  set_field(key, field, text_of(after))
  return after
end)

-- Sorted sets -------------------------------------------------------------------------------------------------------

local function score(text) return tonumber(text) or fail('ERR value is not a valid float') end

listed('ZADD', 3, function(arguments)
  if #arguments % 2 == 0 then fail(SYNTAX) end
  for at = 2, #arguments, 2 do arguments[at] = score(arguments[at]) end
  local key, added = arguments[1], 0
  if not to_write(key, 'zset') then values.put_fields(key, 'zset') end
  for at = 2, #arguments, 2 do
    if set_field(key, arguments[at + 1], arguments[at]) then added = added + 1 end
  end
  return added
end)

commands.ZADD.three = function(key, text, member)
  local number = score(text)
  if not to_write(key, 'zset') then values.put_fields(key, 'zset') end
  return set_field(key, member, number) and 1 or 0
end

listed('ZREM', 2, function(arguments)
  local key, count = arguments[1], 0
  for at = 2, #arguments do
    if to_write(key, 'zset') and unset_field(key, arguments[at]) then count = count + 1 end
  end
  return count
end)

commands.ZREM.two = function(key, member) return to_write(key, 'zset') and unset_field(key, member) and 1 or 0 end

-- Return a bound's kind, one of "-+[(", and its text.
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

local function first_from(names, kind, text)
  local low, high = 1, #names + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_from(kind, text, names[middle]) then high = middle else low = middle + 1 end
  end
  return low
end

fixed('ZRANGEBYLEX', 3, 6, function(key, from, to, limit, offset, count)
  local skip, most = 0, -1
  if limit then
    if string.upper(limit) ~= 'LIMIT' or not count then fail(SYNTAX) end
    skip, most = integer(offset), integer(count)
  end
  local from_kind, from_text = bound(from)
  local to_kind, to_text = bound(to)
  local value, reply = to_read(key, 'zset'), {}
  if not value or skip < 0 then return reply end
  local names = names_of(value)
  for at = first_from(names, from_kind, from_text) + skip, #names do
    if #reply == most or not is_to(to_kind, to_text, names[at]) then break end
    reply[#reply + 1] = names[at]
  end
  return reply
end)

-- Streams -----------------------------------------------------------------------------------------------------------

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

-- Return an end of a range: whether it is exclusive, and its id.
local function end_of_range(text, missing_seq)
  local exclusive = string.sub(text, 1, 1) == '('
  return exclusive, id_of(exclusive and string.sub(text, 2) or text, missing_seq)
end

local function first_of(stream, text)
  if text == '-' then return stream.first end
  if text == '+' then return stream.last + 1 end
  local exclusive, ms, seq = end_of_range(text, 0)
  return place_of(stream, ms, exclusive and seq + 1 or seq)
end

local function last_of(stream, text)
  if text == '+' then return stream.last end
  if text == '-' then return stream.first - 1 end
  local exclusive, ms, seq = end_of_range(text, MAX_EXACT)
  return place_of(stream, ms, exclusive and seq or seq + 1) - 1
end

local NO_STREAM = values.no_stream()

local function range(backwards, key, from, to, option, count)
  local most = MAX_EXACT
  if option then
    if string.upper(option) ~= 'COUNT' or not count then fail(SYNTAX) end
    most = math.max(0, integer(count))
  end
  local stream, reply = to_read(key, 'stream'), {}
  -- A bad id is an error even where there is no stream, a bad count is none.
  local first, last = first_of(stream or NO_STREAM, from), last_of(stream or NO_STREAM, to)
  if not stream then return reply end
  if most == 0 then return false end
  local from_at, to_at = first, math.min(last, first + most - 1)
  if backwards then from_at, to_at = last, math.max(first, last - most + 1) end
  for at = from_at, to_at, backwards and -1 or 1 do reply[#reply + 1] = values.shown(stream.entries[at]) end
  return reply
end

fixed('XRANGE', 3, 5, function(key, from, to, option, count) return range(false, key, from, to, option, count) end)
fixed('XREVRANGE', 3, 5, function(key, to, from, option, count) return range(true, key, from, to, option, count) end)

-- Return how many entries are to stay, nil for all, and where the id stands among the arguments.
-- "~" may leave any number more, as the real server does with what fits into one node of a stream: it trims nothing.
local function trimming(arguments)
  if string.upper(arguments[2]) ~= 'MAXLEN' then return nil, 2 end
  local about = arguments[3] == '~'
  local at = (about or arguments[3] == '=') and 4 or 3
  local most = integer(arguments[at] or '')
  if most < 0 then fail('ERR The MAXLEN argument must be >= 0.') end
  return not about and most or nil, at + 1
end

listed('XADD', 4, function(arguments)
  local key = arguments[1]
  local most, at = trimming(arguments)
  local count = #arguments - at
  if count < 2 or count % 2 == 1 then fail("ERR wrong number of arguments for 'xadd' command") end
  local ms, seq = id_of(arguments[at], 0)
  if ms == 0 and seq == 0 then fail('ERR The ID specified in XADD must be greater than 0-0') end
  local stream = to_write(key, 'stream')
  if stream and not is_less(stream.last_ms, stream.last_seq, ms, seq) then
    fail('ERR The ID specified in XADD is equal or smaller than the target stream top item')
  end
  local id, fields = string.format('%.0f-%.0f', ms, seq), {}
  for from = 1, count do fields[from] = arguments[at + from] end
  values.append(key, {ms = ms, seq = seq, id = id, fields = fields}, most)
  return id
end)

fixed('XLEN', 1, 1, function(key)
  local stream = to_read(key, 'stream')
  return stream and stream.last - stream.first + 1 or 0
end)

listed('XDEL', 2, function(arguments)
  local key, ids, count = arguments[1], {}, 0
  -- A bad id anywhere is an error before anything is taken out.
  for at = 2, #arguments do ids[at - 1] = {id_of(arguments[at], 0)} end
  if not to_write(key, 'stream') then return 0 end
  for _, id in ipairs(ids) do
    local stream = to_write(key, 'stream')
    local at = place_of(stream, id[1], id[2])
    local entry = at <= stream.last and stream.entries[at]
    if entry and entry.ms == id[1] and entry.seq == id[2] then
      values.cut_out(key, at)
      count = count + 1
    end
  end
  return count
end)

local function news(stream, ms, seq, most)
  local first, entries = place_of(stream, ms, seq + 1), {}
  for at = first, math.min(stream.last, first + most - 1) do
    entries[#entries + 1] = values.shown(stream.entries[at])
  end
  return entries
end

-- XREAD [COUNT n] [BLOCK ms] STREAMS key ... id ...: it never waits here; who calls it waits in virtual time.
listed('XREAD', 3, function(arguments)
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
    local entries = news(to_read(arguments[place], 'stream') or NO_STREAM, ms, seq, most)
    if #entries > 0 then reply[#reply + 1] = {arguments[place], entries} end
  end
  return #reply > 0 and reply or false
end)

return {commands = commands, clock = clock}
