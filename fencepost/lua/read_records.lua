-- Read some record sets at one serial.
-- KEYS  records, meta     ARGV  keys of record sets     Reply: {} if there is no zone, else {serial, text or nil, ...}

local serial = redis.call('HGET', KEYS[2], 'serial')
if not serial then return {} end
local reply = {tonumber(serial)}
-- No more at once than Lua's stack holds (8,000).
for first = 1, #ARGV, 5000 do
  local last = math.min(first + 4999, #ARGV)
  for index, text in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV, first, last))) do reply[first + index] = text end
end
return reply
