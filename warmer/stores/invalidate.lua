-- Invalidate keys of one or more jobs: raise each fence's counter, record the keys, delete them.
--
-- KEYS         for each job: its fence (see token.lua), then its keys as the server knows them, each
--              with what stands beside it and ends with it
-- ARGV[1]      how many records a fence may hold
-- ARGV[2]      milliseconds after which an unused fence is dropped
-- ARGV[3..]    for each job: how many keys follow (0: the whole job, whose fence is dropped; its keys are
--              then swept by SCAN), how many KEYS each of them has, and their logical names
-- Returns      how many KEYS were deleted
-- Keeps        no stale fill: all is one atomic step. A fence that does not exist needs no record:
--              no token of it can be valid. Records over the limit are trimmed from the oldest, and
--              the floor says so to tokens that are older.
local limit, lifetime = tonumber(ARGV[1]), ARGV[2]
local at_key, at_arg, deleted = 1, 3, 0

local function trim(fence, counter)
  local surplus = redis.call('ZCARD', fence) - 3 - limit
  if surplus <= 0 then return end
  -- To half the limit, so that a full fence is not trimmed at every invalidation.
  local last = math.min(surplus + math.floor(limit / 2), surplus + limit - 1) + 1
  local floor = tonumber(redis.call('ZRANGEBYSCORE', fence, 1, '+inf', 'WITHSCORES', 'LIMIT', last - 1, 1)[2])
  redis.call('ZREMRANGEBYSCORE', fence, 1, floor)
  redis.call('ZADD', fence, counter, 'c', floor, 'f')
end

while at_arg <= #ARGV do
  local fence, count, stride = KEYS[at_key], tonumber(ARGV[at_arg]), tonumber(ARGV[at_arg + 1])
  if count == 0 then
    redis.call('DEL', fence)
  else
    local exists = redis.call('EXISTS', fence) == 1
    local counter = exists and tonumber(redis.call('ZINCRBY', fence, 1, 'c'))
    for i = 1, count do
      if exists then redis.call('ZADD', fence, counter, 'k:' .. ARGV[at_arg + 1 + i]) end
    end
    for i = 1, count * stride do deleted = deleted + redis.call('DEL', KEYS[at_key + i]) end
    if exists then
      redis.call('PEXPIRE', fence, lifetime)
      trim(fence, counter)
    end
  end
  at_key = at_key + 1 + count * stride
  at_arg = at_arg + 2 + count
end
return deleted
