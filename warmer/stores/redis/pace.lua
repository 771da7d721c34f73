-- Take the next of a number of turns at a steady pace.
--
-- KEYS[1]  when the next turn is, in microseconds of the server's time
-- ARGV[1]  microseconds between two turns
-- Returns  microseconds until the turn
-- Keeps    nothing but the pace: lost, it starts again. So it does when the next turn is further ahead than
--          anybody queues, as after the server's clock was set back. Each process that waits has taken one
--          turn, and waits at most for its task's time limit; 10 minutes are twice what the project sets.
--          At a slow pace 100 turns are longer, and a longer queue than there is.
local now, interval = clock(), tonumber(ARGV[1])
local at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
if at - now > math.max(600 * 1000000, 100 * interval) then at = now end
local next_turn = at + interval
redis.call('SET', KEYS[1], string.format('%.0f', next_turn), 'PX', math.ceil((next_turn - now) / 1000) + 1000)
return at - now
