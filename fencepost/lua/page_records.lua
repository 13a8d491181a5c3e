-- Read a page of a zone in ListResourceRecordSets order. Source: Route 53 API Reference, ListResourceRecordSets.
-- KEYS  records, order, meta     ARGV  first key or "", how many     Reply: {} if there is no zone, else {serial, text, ...}

local serial = redis.call('HGET', KEYS[3], 'serial')
if not serial then return {} end
local first = ARGV[1] == '' and '-' or '[' .. ARGV[1]
local reply = {tonumber(serial)}
for index, key in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], first, '+', 'LIMIT', 0, ARGV[2])) do
  reply[index + 1] = redis.call('HGET', KEYS[1], key)
end
return reply
