-- Take the token of a job's fence, and claim the missing keys that nobody else is loading.
--
-- A claim is a string next to its key, "<holder> <generation> <counter> <after absence>" (see base.py):
-- who is loading the key, and the state of the fence at the start. The holder "-" means that the load has ended
-- without a value.
--
-- KEYS[1]   the fence (see fence.lua)
-- KEYS[2..] for each key: its name on the server, its absence mark (if ARGV[5]), its claim
-- ARGV[1]   the generation of a new fence
-- ARGV[2]   milliseconds after which an unused fence is dropped
-- ARGV[3]   the id of the claim to make
-- ARGV[4]   milliseconds after which it expires
-- ARGV[5]   whether the job's absences are cached: 1 or 0
-- ARGV[6]   microseconds by which a loader's data may be old (replica lag)
-- ARGV[7..] the logical name of each key
-- Returns   {generation, counter, 1 if a damaged fence was dropped or 0, letters, one text per key}: m claimed
--           for the caller, t another reader is loading it (the id of that claim), v it has been cached (its
--           value), a it is now known to have no value
-- Keeps     one load per state of the fence: a key is claimed only if it has neither a value nor another
--           reader's valid claim. (A claim of the caller was made by this very call, which the client repeated
--           because the answer was lost.) A claim is valid as long as a write with its token would pass the
--           fence, so nobody waits for a load that began before an invalidation. It does not replace the fence.
local fence, id, absence = KEYS[1], ARGV[3], ARGV[5] == '1'
local stride = absence and 3 or 2

local generation, counter, damaged = take(fence, ARGV[1], ARGV[2], tonumber(ARGV[6]))
local floor = count_of(fence, 'f') or math.huge

local function stands(name, made_in, made_at)
  made_at = tonumber(made_at)
  return made_in == generation and floor <= made_at and not is_overtaken(fence, name, made_at)
end

local letters, texts = {}, {}
for i = 1, (#KEYS - 1) / stride do
  local key, mark, claim = 2 + stride * (i - 1), 3 + stride * (i - 1), 1 + stride * i
  local name = ARGV[6 + i]
  -- MGET returns nothing for a key of another type, where GET fails.
  local value, record = unpack(redis.call('MGET', KEYS[key], KEYS[claim]))
  if value then
    letters[i], texts[i] = 'v', value
  elseif absence and redis.call('EXISTS', KEYS[mark]) == 1 then
    letters[i], texts[i] = 'a', ''
  else
    local holder, made_in, made_at = string.match(record or '', '^(%S+) (%S+) (%d+) [01]$')
    local standing = holder and stands(name, made_in, made_at)
    if standing and holder == id then
      letters[i], texts[i] = 'm', ''
    elseif standing and holder ~= '-' then
      letters[i], texts[i] = 't', holder
    else
      local after_absence = standing and '1' or '0'
      record = table.concat({id, generation, counter, after_absence}, ' ')
      redis.call('SET', KEYS[claim], record, 'PX', ARGV[4])
      letters[i], texts[i] = 'm', ''
    end
  end
end
return {generation, counter, damaged, table.concat(letters), texts}
