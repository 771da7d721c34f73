-- Return the state of a job's fence, and make the fence when there is none.
--
-- The fence is one sorted set, so that it is evicted as a whole or not at all:
--   g:<generation>  score -1          the generation, random and never used again
--   c               score n           the counter: how many invalidations there were
--   f               score n           the floor: records up to this count are forgotten
--   k:<key>         score n           a key, and the count at which it was invalidated last
--
-- KEYS[1]  the fence
-- ARGV[1]  the generation to use when the fence is made
-- ARGV[2]  milliseconds after which an unused fence is dropped
-- Returns  {generation, counter}
-- Keeps    no stale fill: a fence that was evicted, flushed or restarted gets another generation,
--          so that every token taken before is refused.
local found = redis.call('ZRANGEBYSCORE', KEYS[1], -1, -1, 'LIMIT', 0, 1)
if #found == 0 then
  redis.call('DEL', KEYS[1])
  redis.call('ZADD', KEYS[1], -1, 'g:' .. ARGV[1], 0, 'c', 0, 'f')
  found = {'g:' .. ARGV[1]}
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {string.sub(found[1], 3), redis.call('ZSCORE', KEYS[1], 'c')}
