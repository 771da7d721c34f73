-- Invalidate keys of one or more jobs: raise each fence's counter, record the keys, delete them.
--
-- KEYS         for each job: its fence (see fence.lua), then the names of its keys on the server, each
--              with its auxiliary keys, which are deleted with it
-- ARGV[1]      the maximum number of records in a fence
-- ARGV[2]      microseconds after which a record may be trimmed
-- ARGV[3]      milliseconds after which an unused fence is dropped
-- ARGV[4..]    for each job: how many keys follow (0: the whole job, whose fence is dropped; its keys are
--              then swept with SCAN), how many KEYS each of them has, and their logical names
-- Returns      the names of the damaged fences
-- Keeps        no stale fill: everything is one atomic step. A fence that does not exist needs no record,
--              because no token of it can be valid. So a fence is dropped if it is damaged, or if the server
--              has no memory for a record. Records over the limit or past their age are trimmed, oldest
--              first, and the floor rejects older tokens.
local limit, age, lifetime = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local now, at_key, at_arg, damaged = clock(), 1, 4, {}

-- Return the count of the newest record that may be trimmed, if there is one.
local function forgettable(fence, floor)
  local surplus = redis.call('ZCARD', fence) - 3 - limit
  if surplus > 0 then
    -- Trim to half the limit, so that a full fence is not trimmed at every invalidation.
    local last = math.min(surplus + math.floor(limit / 2), surplus + limit - 1)
    local above = string.format('(%.0f', floor)
    return redis.call('ZRANGEBYSCORE', fence, above, '+inf', 'WITHSCORES', 'LIMIT', last - 1, 1)[2]
  end
  -- Checked only if the oldest record is well past its age, for the same reason.
  local oldest = redis.call('ZRANGEBYSCORE', fence, string.format('(%.0f', floor), now - age * 1.25, 'LIMIT', 0, 1)
  if #oldest == 0 then return nil end
  return redis.call('ZREVRANGEBYSCORE', fence, now - age, 0, 'WITHSCORES', 'LIMIT', 0, 1)[2]
end

local function trim(fence, counter)
  local last = forgettable(fence, count_of(fence, 'f'))
  if not last then return end
  redis.call('ZREMRANGEBYSCORE', fence, 0, last)
  redis.call('ZADD', fence, counter, 'c', last, 'f')
end

-- Record keys as invalidated now; return whether the server accepted the records.
local function record(fence, names)
  local counter = math.max(count_of(fence, 'c') + 1, now)
  for _, name in ipairs(names) do
    if type(redis.pcall('ZADD', fence, counter, 'k:' .. name)) == 'table' then return false end
  end
  if type(redis.pcall('ZADD', fence, counter, 'c')) == 'table' then return false end
  redis.call('PEXPIRE', fence, lifetime)
  trim(fence, counter)
  return true
end

while at_arg <= #ARGV do
  local fence, count, stride = KEYS[at_key], tonumber(ARGV[at_arg]), tonumber(ARGV[at_arg + 1])
  if count == 0 then
    redis.call('DEL', fence)
  else
    local names = {}
    for i = 1, count do names[i] = ARGV[at_arg + 1 + i] end
    if not is_sound(fence) then
      if drop_damaged(fence) == 1 then damaged[#damaged + 1] = fence end
    elseif not record(fence, names) then
      redis.call('DEL', fence)
    end
    for i = 1, count * stride do redis.call('DEL', KEYS[at_key + i]) end
  end
  at_key = at_key + 1 + count * stride
  at_arg = at_arg + 2 + count
end
return damaged
