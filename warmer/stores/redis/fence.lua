-- Shared by the scripts of the fence: this text is prepended to each of them.
--
-- A job's fence is one sorted set, so that it is evicted as a whole or not at all:
--   g:<generation>  score -1   the generation, random and never used again
--   c               score n    the counter: the count of the last invalidation
--   f               score n    the floor: records up to this count have been trimmed
--   k:<key>         score n    a key, and the count at which it was last invalidated
--
-- A count is the server's time in microseconds, or the last count plus one if that is higher. So counts
-- rise strictly regardless of the clock, which is all that is needed to reject old values. Because they
-- are also times, records can be trimmed by age, and tokens can be dated back.

local function clock()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end

-- Return the count of a member; nil if there is none, or if the fence is of another type.
local function count_of(fence, member)
  local count = redis.pcall('ZSCORE', fence, member)
  return type(count) == 'string' and tonumber(count) or nil
end

-- Return whether a fence is intact: its counts are integers that a double represents exactly. Another program
-- may have written to it.
local function is_sound(fence)
  local counter, floor = count_of(fence, 'c'), count_of(fence, 'f')
  return counter and floor and 0 <= floor and floor <= counter and counter < 2 ^ 53
end

-- Drop a damaged fence, which voids all of its tokens. Return 1 if there was one, 0 if the fence was missing.
local function drop_damaged(fence)
  local damaged = redis.call('EXISTS', fence)
  redis.call('DEL', fence) -- after a command that writes, a full server takes the small ones that follow, too
  return damaged
end

-- Return the generation and the counter of a token, and whether the fence was damaged; create it if it is
-- missing or damaged.
-- lag: microseconds by which a loader's data may be old; the token is dated back by this much.
local function take(fence, new_generation, lifetime, lag)
  local found = redis.pcall('ZRANGEBYSCORE', fence, -1, -1, 'LIMIT', 0, 1)
  local generation, damaged = string.match(found[1] or '', '^g:(%x+)$'), 0
  if not generation or not is_sound(fence) then
    local now = clock()
    damaged = drop_damaged(fence)
    redis.call('ZADD', fence, -1, 'g:' .. new_generation, now, 'c', now, 'f')
    generation = new_generation
  end
  redis.call('PEXPIRE', fence, lifetime)
  local counter = count_of(fence, 'c')
  if lag > 0 then counter = math.min(counter, clock() - lag) end
  return generation, string.format('%.0f', counter), damaged
end

-- Return whether a token is of another fence, or older than the fence's records.
local function is_refused(fence, generation, taken)
  return not count_of(fence, 'g:' .. generation) or (count_of(fence, 'f') or math.huge) > taken
end

-- Return whether a key was invalidated after a token was taken.
local function is_overtaken(fence, name, taken)
  local record = count_of(fence, 'k:' .. name)
  return record and record > taken
end
