-- Take the next of a number of turns at a steady pace.
--
-- KEYS[1]  the time of the next turn, in microseconds of the server's clock
-- ARGV[1]  microseconds between two turns
-- Returns  microseconds until the turn
-- Keeps    the pace only: if the key is lost, the pace starts again. It also does if the next turn is further
--          ahead than any queue could be, e.g. after the server's clock was set back. A waiting process
--          has taken one turn, and waits at most for its task's time limit; 10 minutes are twice the
--          project's limit. At a slow pace, 100 turns are longer, which is more than any queue.
local now, interval = clock(), tonumber(ARGV[1])
local at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
if at - now > math.max(600 * 1000000, 100 * interval) then at = now end
local next_turn = at + interval
redis.call('SET', KEYS[1], string.format('%.0f', next_turn), 'PX', math.ceil((next_turn - now) / 1000) + 1000)
return at - now
