-- Take the next turn of those that are given at a steady pace.
--
-- KEYS[1]  when the next turn is, in microseconds of the server's time
-- ARGV[1]  microseconds between two turns
-- Returns  microseconds until the turn
-- Keeps    nothing but the pace: lost, it begins anew.
local now = clock()
local at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local next_turn = at + tonumber(ARGV[1])
redis.call('SET', KEYS[1], string.format('%.0f', next_turn), 'PX', math.ceil((next_turn - now) / 1000) + 1000)
return at - now
