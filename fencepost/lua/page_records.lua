-- Read a page of a zone in ListResourceRecordSets order. Source: Route 53 API Reference, ListResourceRecordSets.
-- KEYS  records, order, meta     ARGV  first key or "", how many, key before which to end or ""
-- Reply: {} if there is no zone, else {serial, text, ...}

local serial = redis.call('HGET', KEYS[3], 'serial')
if not serial then return {} end
local first = ARGV[1] == '' and '-' or '[' .. ARGV[1]
local last = ARGV[3] == '' and '+' or '(' .. ARGV[3]
local keys = redis.call('ZRANGEBYLEX', KEYS[2], first, last, 'LIMIT', 0, ARGV[2])
if #keys == 0 then return {tonumber(serial)} end
return {tonumber(serial), unpack(redis.call('HMGET', KEYS[1], unpack(keys)))}
