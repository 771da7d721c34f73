-- Add a process's counts for a job, and record which of the watched keys it read.
--
-- KEYS[1]   the job's totals
-- KEYS[2]   its counts for today
-- KEYS[3]   its watched keys (see counters.py)
-- ARGV[1]   the time, in seconds since the epoch
-- ARGV[2]   its slot of five minutes
-- ARGV[3]   how long totals are kept, in seconds
-- ARGV[4]   how long the counts of a day are kept, in seconds
-- ARGV[5]   JSON: counts (name -> how many), missed (key -> how many reads of it)
-- ARGV[6..] the keys that were read
-- Returns   the watched hash sample: one key in this many; 0: none
-- Keeps     no guarantee: if the answer is lost, the same counts may be added twice.
local totals, today, watched = KEYS[1], KEYS[2], KEYS[3]
local counted = cjson.decode(ARGV[5])
local counts, watched_misses = counted.counts, 0
local of_today = {hits = true, misses = true, watched_misses = true, written = true, superseded = true}
for key, misses in pairs(counted.missed) do
  if redis.call('ZSCORE', watched, 'read:' .. key) then watched_misses = watched_misses + misses end
end
if watched_misses > 0 then counts.watched_misses = watched_misses end
for name, count in pairs(counts) do
  if count > 0 then
    redis.call('HINCRBY', totals, name, count)
    redis.call('EXPIRE', totals, ARGV[3])
    if of_today[name] then
      redis.call('HINCRBY', today, ARGV[2] .. ':' .. name, count)
      redis.call('EXPIRE', today, ARGV[4])
    end
  end
end
for i = 6, #ARGV do
  redis.call('ZADD', watched, 'XX', ARGV[1], 'read:' .. ARGV[i])
end
return tonumber(redis.call('ZSCORE', watched, 'every') or 0)
