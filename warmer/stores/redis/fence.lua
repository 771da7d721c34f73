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

-- Return the count of a member; nil where there is none, also if the fence is of another type.
local function count_of(fence, member)
  local count = redis.pcall('ZSCORE', fence, member)
  return type(count) == 'string' and tonumber(count) or nil
end

-- Return whether a fence can be trusted: counts are whole numbers that a double keeps apart. Another program
-- may have written to it.
local function is_sound(fence)
  local counter, floor = count_of(fence, 'c'), count_of(fence, 'f')
  return counter and floor and 0 <= floor and floor <= counter and counter < 2 ^ 53
end

-- Describe a damaged fence, for people.
local function state_of(fence)
  local kind = redis.pcall('TYPE', fence).ok -- the right to ask may be missing
  if kind and kind ~= 'zset' then return 'it is a ' .. kind end
  local function shown(member)
    local count = redis.pcall('ZSCORE', fence, member)
    return type(count) == 'string' and count or 'missing'
  end
  local generation = redis.pcall('ZRANGEBYSCORE', fence, -1, -1, 'LIMIT', 0, 1)[1] or 'missing'
  return string.format('its counter is %s, its floor %s, its generation %s', shown('c'), shown('f'), generation)
end

-- Drop a damaged fence, so that every token of it is void. Return what it was like; '' if there was none.
local function drop_damaged(fence)
  local state = redis.call('EXISTS', fence) == 1 and state_of(fence) or ''
  redis.call('DEL', fence) -- after a command that writes, a full server takes the small ones that follow, too
  return state
end

-- Return the generation and the counter to take as a token; make the fence where there is none, or a damaged
-- one, and return what a damaged one was like, or ''.
-- lag: microseconds by which a loader may read the past; the token is then the one of that time.
local function take(fence, new_generation, lifetime, lag)
  local found = redis.pcall('ZRANGEBYSCORE', fence, -1, -1, 'LIMIT', 0, 1)
  local generation, damaged = string.match(found[1] or '', '^g:(%x+)$'), ''
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

-- Return whether a token is of another fence, or older than what the fence remembers.
local function is_refused(fence, generation, taken)
  return not count_of(fence, 'g:' .. generation) or (count_of(fence, 'f') or math.huge) > taken
end

-- Return whether a key was invalidated after a token was taken.
local function is_overtaken(fence, name, taken)
  local record = count_of(fence, 'k:' .. name)
  return record and record > taken
end
