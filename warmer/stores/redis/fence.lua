-- What the scripts of the fence share: this text stands before each of them.
--
-- The fence of a job is one sorted set, so that it is evicted as a whole or not at all:
--   g:<generation>  score -1   the generation, random and never used again
--   c               score n    the counter: the count of the last invalidation
--   f               score n    the floor: records up to this count are forgotten
--   k:<key>         score n    a key, and the count at which it was invalidated last
--
-- A count is the server's time in microseconds, or the last count and one where that is more. So counts
-- rise strictly whatever the clock does, and nothing else is needed to keep an old value out. That they
-- are times as well lets records be forgotten by age, and a token be that of a moment ago.

local function clock()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end

local function count_of(fence, member)
  local count = redis.call('ZSCORE', fence, member)
  return count and tonumber(count)
end

-- Return the generation and the counter to take as a token; make the fence where there is none.
-- lag: microseconds by which a loader may read the past; the token is then the one of that time.
local function take(fence, new_generation, lifetime, lag)
  local found = redis.call('ZRANGEBYSCORE', fence, -1, -1, 'LIMIT', 0, 1)
  if #found == 0 then
    local now = clock()
    redis.call('DEL', fence)
    redis.call('ZADD', fence, -1, 'g:' .. new_generation, now, 'c', now, 'f')
    found = {'g:' .. new_generation}
  end
  redis.call('PEXPIRE', fence, lifetime)
  local counter = count_of(fence, 'c')
  if lag > 0 then counter = math.min(counter, clock() - lag) end
  return string.sub(found[1], 3), string.format('%.0f', counter)
end

-- Return whether a token is of another fence, or older than what the fence remembers.
local function is_refused(fence, generation, taken)
  return not redis.call('ZSCORE', fence, 'g:' .. generation) or (count_of(fence, 'f') or math.huge) > taken
end

-- Return whether a key was invalidated after a token was taken.
local function is_overtaken(fence, name, taken)
  local record = redis.call('ZSCORE', fence, 'k:' .. name)
  return record and tonumber(record) > taken
end
