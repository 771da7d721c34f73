-- Say which keys are cached and live for a while yet.
--
-- KEYS     the keys as the server knows them
-- ARGV[1]  milliseconds that they must have left; 0: any that are there
-- Returns  one letter a key: y it does, n it does not
local at_least, call, keys = tonumber(ARGV[1]), redis.call, KEYS -- local names are found sooner

local function is_fresh(key)
  local left = call('PTTL', key)
  return left >= at_least or left == -1 -- -1: it is there and has no end; -2: it is not there
end

-- Mostly all are fresh, which takes no list.
local fresh, looked_at = 0, 0
if at_least == 0 then
  -- One call tells how many are there; a script may hand on about 8,000 values at once.
  for i = 1, #keys, 4000 do
    fresh = fresh + call('EXISTS', unpack(keys, i, math.min(i + 3999, #keys)))
  end
else
  while fresh < #keys and is_fresh(keys[fresh + 1]) do fresh = fresh + 1 end
  looked_at = fresh
end
if fresh == #keys then return string.rep('y', fresh) end

local letters = {string.rep('y', looked_at)}
for i = looked_at + 1, #keys do letters[#letters + 1] = is_fresh(keys[i]) and 'y' or 'n' end
return table.concat(letters)
