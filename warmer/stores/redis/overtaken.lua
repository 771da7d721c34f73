-- Say which keys were invalidated after a token was taken; a look that changes nothing.
--
-- KEYS[1]   the fence (see fence.lua)
-- ARGV[1]   the token's generation
-- ARGV[2]   the token's counter
-- ARGV[3..] the keys' logical names
-- Returns   one letter a key: s the token stands for it, f it was overtaken
-- Keeps     a truthful audit: what changed while it looked is not called wrong.
local fence, taken, letters = KEYS[1], tonumber(ARGV[2]), {}
local refused = is_refused(fence, ARGV[1], taken)
for i = 3, #ARGV do
  letters[i - 2] = (refused or is_overtaken(fence, ARGV[i], taken)) and 'f' or 's'
end
return table.concat(letters)
