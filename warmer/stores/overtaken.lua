-- Say which keys were invalidated after a token was taken; a look that changes nothing.
--
-- KEYS[1]   the fence (see token.lua)
-- ARGV[1]   the token's generation
-- ARGV[2]   the token's counter
-- ARGV[3..] the keys' logical names
-- Returns   one letter a key: s the token stands for it, f it was overtaken
-- Keeps     a truthful audit: what changed while it looked is not called wrong.
local fence, count, taken = KEYS[1], #ARGV - 2, tonumber(ARGV[2])
local counter = redis.call('ZSCORE', fence, 'c')
if not counter
    or not redis.call('ZSCORE', fence, 'g:' .. ARGV[1])
    or tonumber(redis.call('ZSCORE', fence, 'f') or math.huge) > taken then
  return string.rep('f', count)
end
if tonumber(counter) == taken then return string.rep('s', count) end
local letters = {}
for i = 1, count do
  local record = redis.call('ZSCORE', fence, 'k:' .. ARGV[i + 2])
  letters[i] = (record and tonumber(record) > taken) and 'f' or 's'
end
return table.concat(letters)
