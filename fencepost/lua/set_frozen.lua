-- Let nobody but an operator publish plans, or let everybody again.
-- KEYS  frozen     ARGV  who, when and why, or "" to thaw     Reply: what was there, nil if nothing

local before = redis.call('GET', KEYS[1])
if ARGV[1] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[1]) end
return before
