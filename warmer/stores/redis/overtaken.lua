-- Return which keys were invalidated after a token was taken. Read-only.
--
-- KEYS[1]   the fence (see fence.lua)
-- ARGV[1]   the token's generation
-- ARGV[2]   the token's counter
-- ARGV[3..] the keys' logical names
-- Returns   one letter per key: s the token is still valid for it, f it was overtaken
-- Keeps     truthful audits: a key that changes during the audit is not reported as wrong.
local fence, taken, letters = KEYS[1], tonumber(ARGV[2]), {}
local refused = is_refused(fence, ARGV[1], taken)
for i = 3, #ARGV do
  letters[i - 2] = (refused or is_overtaken(fence, ARGV[i], taken)) and 'f' or 's'
end
return table.concat(letters)
