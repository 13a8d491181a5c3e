-- Publish a plan: number it, keep what changed, and share every content that is known already.
--
-- KEYS  head        hash: generation, at_ms, lane, reason of the latest plan
--       current     hash: endpoint -> digest, of the latest plan
--       log         stream: one entry per plan with the generation as its id, and "endpoint before after" lines
--       contents    hash: digest -> content
--       references  hash: digest -> in how many spans of kept generations some endpoint has it
-- ARGV  expected generation, floor, lane, reason, how many plans to keep, then three for each change:
--       endpoint, digest or "" (it leaves the plan), content or ""
-- Replies: {"published", generation} {"conflict", latest}. Cost grows with the change, not with the region.

local head, current, log, contents, references = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local latest = tonumber(redis.call('HGET', head, 'generation') or 0)
if latest ~= tonumber(ARGV[1]) then return {'conflict', latest} end
local generation = math.max(latest, tonumber(ARGV[2])) + 1
-- %.0f: a number of fifteen digits must not be written with an exponent.
local number = string.format('%.0f', generation)

local lines = {}
for at = 6, #ARGV, 3 do
  local endpoint, digest, content = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local before = redis.call('HGET', current, endpoint)
  if digest == '' then
    redis.call('HDEL', current, endpoint)
  else
    redis.call('HSET', current, endpoint, digest)
    redis.call('HSETNX', contents, digest, content)
    redis.call('HINCRBY', references, digest, 1)
  end
  lines[#lines + 1] = endpoint .. ' ' .. (before or '-') .. ' ' .. (digest == '' and '-' or digest)
end

local now = redis.call('TIME')
local at_ms = string.format('%.0f', tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000))
redis.call('XADD', log, number .. '-0', 'at_ms', at_ms, 'lane', ARGV[3], 'reason', ARGV[4],
  'changes', table.concat(lines, '\n'))
redis.call('HSET', head, 'generation', number, 'at_ms', at_ms, 'lane', ARGV[3], 'reason', ARGV[4])

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
