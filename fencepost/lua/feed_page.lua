-- Read a page of a zone, and which commit it shows the zone at: what the data plane starts from.
-- KEYS  records, order, meta     ARGV  first key or "", how many     Reply: {} if there is no zone, else
-- {serial, at_us, text, ...}; at_us is 0 in a zone whose last commit did not note it yet

local head = redis.call('HMGET', KEYS[3], 'serial', 'at_us')
if not head[1] then return {} end
local first = ARGV[1] == '' and '-' or '[' .. ARGV[1]
local keys = redis.call('ZRANGEBYLEX', KEYS[2], first, '+', 'LIMIT', 0, ARGV[2])
if #keys == 0 then return {head[1], head[2] or '0'} end
return {head[1], head[2] or '0', unpack(redis.call('HMGET', KEYS[1], unpack(keys)))}
