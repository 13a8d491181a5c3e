-- Publish a plan: number it, keep what changed, and share every content that is known already.
--
-- KEYS  head        hash: generation, at_ms, lane, reason of the latest plan; raised, the last one above a floor
--       current     hash: endpoint -> "digest generation" of the last plan that says anything of it
--       log         stream: one entry per plan with the generation as its id, and "endpoint before after" lines
--       contents    hash: digest -> content
--       references  hash: digest -> in how many spans of kept generations some endpoint has it
--       forced      hash: endpoint -> "generation digest by" of the last plan that an operator published by force
--       pins        hash: endpoint -> who has rolled it back, when and why; automation leaves it as it is
--       frozen      string: who has frozen the automation, when and why
-- ARGV  expected generation, floor, lane, reason, how many plans to keep, by whom, operator (1 or 0), force (1 or 0),
--       who, when and why to pin what changes, or "", then three for each change:
--       endpoint, digest or "" (it leaves the plan), content or ""
-- Replies: {"published", generation} {"conflict", latest} {"frozen", text} {"pinned", endpoint, text}.
-- Cost grows with the change, not with the region.

local head, current, log, contents, references = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local forced, pins, frozen = KEYS[6], KEYS[7], KEYS[8]
local by, operator, force, pin = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local FIRST, WIDTH = 10, 3

-- Return a digest without the generation that follows it; who wrote before there were any left them out.
local function digest_in(text) return text and string.match(text, '^[^ ]*') end

local latest = tonumber(redis.call('HGET', head, 'generation') or 0)
if latest ~= tonumber(ARGV[1]) then return {'conflict', latest} end
if operator ~= '1' then
  local text = redis.call('GET', frozen)
  if text then return {'frozen', text} end
  for at = FIRST, #ARGV, WIDTH do
    local held = redis.call('HGET', pins, ARGV[at])
    if held and (digest_in(redis.call('HGET', current, ARGV[at])) or '') ~= ARGV[at + 1] then
      return {'pinned', ARGV[at], held}
    end
  end
end
local generation = math.max(latest, tonumber(ARGV[2])) + 1
-- %.0f: a number of fifteen digits must not be written with an exponent.
local number = string.format('%.0f', generation)

local lines = {}
for at = FIRST, #ARGV, WIDTH do
  local endpoint, digest = ARGV[at], ARGV[at + 1]
  local before = digest_in(redis.call('HGET', current, endpoint))
  local count = redis.call('HGET', references, digest) or '0'
  if not string.match(count, '^-?%d+$') then
    return redis.error_reply('ERR a count of references is no number; nothing was written')
  end
  lines[#lines + 1] = endpoint .. ' ' .. (before or '-') .. ' ' .. (digest == '' and '-' or digest)
end

-- An error ends a script and takes nothing back, so what damaged keys can refuse comes before all else: another type
-- where nothing was read yet, and as the first write the entry, as the log may have gone past this generation.
redis.call('HGET', contents, '')
redis.call('HGET', forced, '')
redis.call('HGET', pins, '')
local now = redis.call('TIME')
local at_ms = string.format('%.0f', tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000))
redis.call('XADD', log, number .. '-0', 'at_ms', at_ms, 'lane', ARGV[3], 'reason', ARGV[4],
  'by', by, 'operator', operator, 'force', force, 'changes', table.concat(lines, '\n'))

for at = FIRST, #ARGV, WIDTH do
  local endpoint, digest, content = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if digest == '' then
    redis.call('HDEL', current, endpoint)
    redis.call('HDEL', forced, endpoint)
  else
    redis.call('HSET', current, endpoint, digest .. ' ' .. number)
    -- What is there already was damaged if it differs: the digest is of this text. Nothing is written in vain.
    if redis.call('HSETNX', contents, digest, content) == 0 and redis.call('HGET', contents, digest) ~= content then
      redis.call('HSET', contents, digest, content)
    end
    redis.call('HINCRBY', references, digest, 1)
    if force == '1' then redis.call('HSET', forced, endpoint, number .. ' ' .. digest .. ' ' .. by) end
  end
  if operator == '1' then
    if pin == '' then redis.call('HDEL', pins, endpoint) else redis.call('HSET', pins, endpoint, pin) end
  end
end
redis.call('HSET', head, 'generation', number, 'at_ms', at_ms, 'lane', ARGV[3], 'reason', ARGV[4])
-- Plans up to the floor were lost, and somebody may still be about to install one: nothing from before is taken for new.
if tonumber(ARGV[2]) > latest then redis.call('HSET', head, 'raised', number) end

-- Forget the oldest plans, two at most each time: what came before a forgotten change can never be asked for again.
local surplus = math.min(2, redis.call('XLEN', log) - tonumber(ARGV[5]))
if surplus > 0 then
  for _, entry in ipairs(redis.call('XRANGE', log, '-', '+', 'COUNT', surplus)) do
    for index = 1, #entry[2], 2 do
      if entry[2][index] == 'changes' then
        for before in string.gmatch(entry[2][index + 1], '[^ \n]+ ([^ \n]+) [^ \n]+') do
          if before ~= '-' and redis.call('HINCRBY', references, before, -1) == 0 then
            redis.call('HDEL', references, before)
            redis.call('HDEL', contents, before)
          end
        end
      end
    end
    redis.call('XDEL', log, entry[1])
  end
end
return {'published', generation}
