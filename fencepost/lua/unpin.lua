-- End the pins of endpoints.
-- KEYS  pins     ARGV  endpoints     Reply: endpoint, who, when and why, of each that was pinned

local ended = {}
for _, endpoint in ipairs(ARGV) do
  local pin = redis.call('HGET', KEYS[1], endpoint)
  if pin then
    ended[#ended + 1] = endpoint
    ended[#ended + 1] = pin
    redis.call('HDEL', KEYS[1], endpoint)
  end
end
return ended
