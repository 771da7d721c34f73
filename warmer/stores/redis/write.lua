-- Write a batch that was loaded after a token was taken, except keys invalidated since.
--
-- KEYS[1]    the fence (see fence.lua)
-- KEYS[2..]  for each key: its name on the server, its absence mark (if ARGV[3]) and its claim (if
--            ARGV[4], see claim.lua); first the keys with a value, then those without one, then those
--            that were not loaded
-- ARGV[1]    the token's generation
-- ARGV[2]    the token's counter
-- ARGV[3]    milliseconds for which absences are cached; 0: they are not
-- ARGV[4]    the id of the claim that ends with this write; empty: there is none
-- ARGV[5]    milliseconds for which waiting readers can see that the load found no value
-- ARGV[6]    the timeout of each value in milliseconds; empty: each value has its own
-- ARGV[7]    the number of characters before the logical name in a key; -1: the names are given
-- ARGV[8]    the number of keys with a value
-- ARGV[9]    the number of keys without one, which are deleted
-- ARGV[10..] the values, then their timeouts (without ARGV[6]), then the logical names of all keys (with -1)
-- Returns    {one letter per key, the first error}: w written, a absent (deleted), f superseded, e error,
--            l left unchanged
-- Keeps      no stale fill: the comparison and the writes are one atomic step. A different or missing
--            generation, or records trimmed past the token, reject the whole batch. Only its holder ends
--            a claim, even if the write is superseded.
local fence, taken, absence, id = KEYS[1], tonumber(ARGV[2]), ARGV[3] ~= '0', ARGV[4]
local with_value, without = tonumber(ARGV[8]), tonumber(ARGV[9])
local one_life, head = ARGV[6], tonumber(ARGV[7])
local stride = 1 + (absence and 1 or 0) + (id ~= '' and 1 or 0)
local refused = is_refused(fence, ARGV[1], taken)
local overtaken = refused or (count_of(fence, 'c') or math.huge) > taken

local lives_at = 9 + with_value
local names_at = lives_at + (one_life == '' and with_value or 0)

local function is_fenced(i, key)
  if refused or not overtaken then return refused end
  local name = head >= 0 and string.sub(key, head + 1) or ARGV[names_at + i]
  return is_overtaken(fence, name, taken)
end

local function end_claim(claim, found_nothing)
  local record = redis.call('GET', claim)
  if not record or string.sub(record, 1, #id + 1) ~= id .. ' ' then return end
  redis.call('DEL', claim)
  if found_nothing then
    redis.pcall('SET', claim, table.concat({'-', ARGV[1], ARGV[2], '1'}, ' '), 'PX', ARGV[5])
  end
end

local letters, first_error = {}, ''
for i = 1, (#KEYS - 1) / stride do
  local at = 2 + stride * (i - 1)
  local key = KEYS[at]
  local letter = 'w'
  if i > with_value + without then
    letter = 'l'
  elseif overtaken and is_fenced(i, key) then
    letter = 'f'
  elseif i > with_value then
    redis.call('DEL', key)
    if absence then redis.pcall('SET', KEYS[at + 1], '1', 'PX', ARGV[3]) end
    letter = 'a'
  else
    local life = one_life ~= '' and one_life or ARGV[lives_at + i]
    local answer = redis.pcall('SET', key, ARGV[9 + i], 'PX', life)
    if absence then redis.call('DEL', KEYS[at + 1]) end
    if answer.err then
      if string.find(answer.err, 'READONLY', 1, true) then return answer end -- a failover demoted this server
      letter = 'e'
      first_error = first_error == '' and answer.err or first_error
    end
  end
  if id ~= '' then end_claim(KEYS[at + stride - 1], letter == 'a') end
  letters[i] = letter
end
return {table.concat(letters), first_error}
