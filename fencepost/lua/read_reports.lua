-- Read every process's last word.
-- KEYS  reports     Reply: {now in ms, name, "<at in ms> <JSON text>", ...}

local now = redis.call('TIME')
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, string.format('%.0f', tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)))
return reply
