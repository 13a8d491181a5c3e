-- Leave word of a process, with the store's time.
-- KEYS  reports     ARGV  the process's name, JSON text

local now = redis.call('TIME')
local at_ms = string.format('%.0f', tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000))
return redis.call('HSET', KEYS[1], ARGV[1], at_ms .. ' ' .. ARGV[2])
