-- What scripts and Python see of the small server: a closed environment, and replies as the protocol has them.
-- values.lua has the contents, commands.lua what can be done to them.

local values, parts = ...
local commands, clock = parts.commands, parts.clock
local fail, text_of = values.fail, values.text_of

-- What a script sees ------------------------------------------------------------------------------------------------

local function str(value)
  if type(value) == 'string' then return value end
  if type(value) == 'number' then return text_of(value) end
  fail('ERR Command arguments must be strings or integers')
end

-- Arguments are unpacked by hand where there are few: LuaJIT compiles that, but no `{...}` and no `unpack`.
local function call(name, ...)
  local command = commands[name] or commands[string.upper(str(name))]
  if not command then
    fail('ERR ' .. str(name) .. ': lab/simulation/commands.lua does not have this command; add it')
  end
  local count = select('#', ...)
  if count < command.fewest or count > command.most then
    fail('ERR Wrong number of args calling command from script')
  end
  if count == 2 and command.two then
    local first, second = ...
    return command.two(str(first), str(second))
  end
  if count == 3 and command.three then
    local first, second, third = ...
    return command.three(str(first), str(second), str(third))
  end
  local arguments = {...}
  for at = 1, count do arguments[at] = str(arguments[at]) end
  if command.listed then return command.run(arguments) end
  return command.run(unpack(arguments, 1, count))
end

local function caught_call(...)
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

-- Chance and the clock are left out: what a script does follows from its arguments, the contents and TIME.
local pure_math = {}
for name, part in pairs(math) do pure_math[name] = part end
pure_math.random, pure_math.randomseed = nil, nil

local globals = {
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, pcall = pcall, rawequal = rawequal,
  select = select, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack, xpcall = xpcall,
  string = sealed(string, 'string'), table = sealed(table, 'table'), math = sealed(pure_math, 'math'),
  bit = sealed(bit, 'bit'),
  redis = sealed({call = call, pcall = caught_call, status_reply = status, error_reply = failure}, 'redis'),
}
setmetatable(globals, {__index = function(_, name)
  fail("ERR Script attempted to access nonexistent global variable '" .. tostring(name) .. "'")
end})
local environment = sealed(globals, '_G')

-- Replies: Python gets what it is and all of its parts in one go -----------------------------------------------------

local SCALAR, LIST, NESTED, LARGE, FAILED, UNDECLARED = 0, 1, 2, 3, 4, 5
local MOST_AT_ONCE = 200
local unpack = unpack

-- Return a value as the protocol has it, tables apart.
local function plain(value)
  if type(value) == 'string' then return value end
  if type(value) == 'number' then return value < 0 and math.ceil(value) or math.floor(value) end
  return value == true and 1 or nil
end

-- Write a value's tokens behind each other: a list is `true`, its length and its items.
local function flatten(value, tokens, count)
  if type(value) ~= 'table' then
    tokens[count + 1] = plain(value)
    return count + 1
  end
  assert(not value.err, 'an error within a list is not to be answered')
  if value.ok then
    tokens[count + 1] = value.ok
    return count + 1
  end
  tokens[count + 1] = true
  local at, size = count + 2, 0
  while value[size + 1] ~= nil do
    size = size + 1
    at = flatten(value[size], tokens, at)
  end
  tokens[count + 2] = size
  return at
end

local function answer_tokens(value)
  local tokens = {}
  local count = flatten(value, tokens, 0)
  if count > MOST_AT_ONCE then return LARGE, tokens, count end
  return NESTED, unpack(tokens, 1, count)
end

local function answer(value)
  if type(value) ~= 'table' then return SCALAR, plain(value) end
  if value.err then return FAILED, value.err end
  if value.ok then return SCALAR, value.ok end
  local tokens, size = {}, 0
  while value[size + 1] ~= nil do
    size = size + 1
    if type(value[size]) == 'table' or size > MOST_AT_ONCE then return answer_tokens(value) end
    tokens[size] = plain(value[size])
  end
  -- The length keeps Python from getting a bare value where the list is empty.
  return LIST, size, unpack(tokens, 1, size)
end

local function outcome(good, value)
  local undeclared = values.take_undeclared()
  if undeclared then return UNDECLARED, undeclared end
  if good then return answer(value) end
  if type(value) == 'table' and value.err then return FAILED, value.err end
  return FAILED, 'ERR ' .. tostring(value)
end

-- What Python calls -------------------------------------------------------------------------------------------------

local server, scripts = {}, {}

local OFFERED = 'access, snapshot, restore, restore_slot, flush, fingerprint, key_names, shown_value'
for name in string.gmatch(OFFERED, '[%w_]+') do server[name] = values[name] end

-- As locals these are found at once; what else a script names is looked up in its environment, or refused there.
local NAMED = 'redis, string, table, math, ipairs, pairs, tonumber, tostring, type'
local KNOWN = {}
for name in string.gmatch(NAMED, '%w+') do KNOWN[#KNOWN + 1] = globals[name] end

function server.compile(text)
  -- On the script's own first line, so that the lines in errors are its own.
  local chunk, problem = loadstring('local KEYS, ARGV, ' .. NAMED .. ' = ... ' .. text, '@user_script')
  if not chunk then return nil, problem end
  -- The main part of a script is quickest interpreted, as measured; the functions in it and the commands are compiled.
  jit.off(chunk)
  scripts[#scripts + 1] = setfenv(chunk, environment)
  return #scripts
end

local function run(script, at_us, access, keys, arguments)
  clock.now_us = at_us
  values.grant(access)
  return outcome(pcall(scripts[script], keys, arguments, unpack(KNOWN)))
end
server.run_large = run

-- Arguments come before keys, so that one table does for both until the keys are taken off its end.
function server.run(script, at_us, access, argument_count, key_count, ...)
  local keys, arguments = {}, {...}
  for at = 1, key_count do
    keys[at] = arguments[argument_count + at]
    arguments[argument_count + at] = nil
  end
  return run(script, at_us, access, keys, arguments)
end

function server.command(name, at_us, access, ...)
  clock.now_us = at_us
  values.grant(access)
  return outcome(pcall(call, name, ...))
end

return server
