-- Read some record sets at one serial.
-- KEYS  records, meta     ARGV  keys of record sets     Reply: {} if there is no zone, else {serial, text or nil, ...}

local serial = redis.call('HGET', KEYS[2], 'serial')
if not serial then return {} end
local reply = {tonumber(serial)}
for index, key in ipairs(ARGV) do
  reply[index + 1] = redis.call('HGET', KEYS[1], key)
end
return reply
