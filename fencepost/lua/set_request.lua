-- Put an operator's request in force, or end it.
-- KEYS  requests     ARGV  key, JSON text or "" to end it

if ARGV[2] == '' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
