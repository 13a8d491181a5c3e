-- Read what operators hold the planner to, at one instant.
-- KEYS  frozen, pins     Reply: {frozen or "", endpoint, pin, ...}

local reply = redis.call('HGETALL', KEYS[2])
table.insert(reply, 1, redis.call('GET', KEYS[1]) or '')
return reply
