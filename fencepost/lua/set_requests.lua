-- Put operators' requests in force, or end them, all at once.
-- KEYS  requests     ARGV  two for each request: key, JSON text or "" to end it

for at = 1, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[at])
  else
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  end
end
return #ARGV / 2
