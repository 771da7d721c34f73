-- Return the state of a job's fence (see fence.lua), and make the fence when there is none.
--
-- KEYS[1]  the fence
-- ARGV[1]  the generation to use when the fence is made
-- ARGV[2]  milliseconds after which an unused fence is dropped
-- ARGV[3]  microseconds by which a loader may read the past (replica lag)
-- Returns  {generation, counter}
-- Keeps    no stale fill: a fence that was evicted, flushed or restarted gets another generation,
--          so that every token taken before is refused. With a lag the token is of a moment at which
--          no loader reads any more: what was invalidated since is not written, and nothing is while
--          the fence is younger.
local generation, counter = take(KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]))
return {generation, counter}
