-- Take one request from the account's token bucket. Source: Route 53 quotas, requests per second per account.
-- KEYS  bucket     ARGV  requests per second, burst     Reply: microseconds to wait, 0 if the request may go

local now = redis.call('TIME')
local now_us = tonumber(now[1]) * 1000000 + tonumber(now[2])
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at_us')
local elapsed_us = math.max(0, now_us - tonumber(bucket[2] or now_us))
local tokens = math.min(burst, tonumber(bucket[1] or burst) + elapsed_us * rate / 1000000)
local wait_us = 0
if tokens >= 1 then tokens = tokens - 1 else wait_us = math.ceil((1 - tokens) * 1000000 / rate) end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at_us', string.format('%.0f', now_us))
return wait_us
