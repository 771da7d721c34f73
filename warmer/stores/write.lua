-- Write a batch that was loaded after a token was taken, but for the keys invalidated since.
--
-- KEYS[1]      the fence (see fence.lua)
-- KEYS[2..]    for each key: the key as the server knows it, with ARGV[3] its absence mark, and with
--              ARGV[4] its claim (see claim.lua)
-- ARGV[1]      the token's generation
-- ARGV[2]      the token's counter
-- ARGV[3]      milliseconds for which an absence is cached; 0: it is not
-- ARGV[4]      the id of the claim that ends with this write; empty: there is none
-- ARGV[5]      milliseconds for which waiting readers can see that its load found no value
-- ARGV[6..]    for each key: its logical name, its life in milliseconds (0: it has no value, delete it;
--              -1: nothing was loaded, leave it), its value
-- Returns      {one letter a key, the first error}: w written, a absent (deleted), f fenced, e error,
--              l left as it is
-- Keeps        no stale fill: the comparison and the writes are one atomic step. Another or a missing
--              generation, or records trimmed past the token, fence the whole batch. A claim is ended by
--              its holder only, and whether the write is fenced or not.
local fence, taken, absence, id = KEYS[1], tonumber(ARGV[2]), ARGV[3] ~= '0', ARGV[4]
local stride = 1 + (absence and 1 or 0) + (id ~= '' and 1 or 0)
local refused = is_refused(fence, ARGV[1], taken)
local overtaken = refused or count_of(fence, 'c') > taken

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
  local key, mark, claim = 2 + stride * (i - 1), 3 + stride * (i - 1), 1 + stride * i
  local name, life, value = ARGV[3 + 3 * i], ARGV[4 + 3 * i], ARGV[5 + 3 * i]
  if life == '-1' then
    letters[i] = 'l'
  elseif refused or overtaken and is_overtaken(fence, name, taken) then
    letters[i] = 'f'
  elseif life == '0' then
    redis.call('DEL', KEYS[key])
    if absence then redis.pcall('SET', KEYS[mark], '1', 'PX', ARGV[3]) end
    letters[i] = 'a'
  else
    local answer = redis.pcall('SET', KEYS[key], value, 'PX', life)
    if absence then redis.call('DEL', KEYS[mark]) end
    if answer.err then
      letters[i] = 'e'
      first_error = first_error == '' and answer.err or first_error
    else
      letters[i] = 'w'
    end
  end
  if id ~= '' then end_claim(KEYS[claim], letters[i] == 'a') end
end
return {table.concat(letters), first_error}
