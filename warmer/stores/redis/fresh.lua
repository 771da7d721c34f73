-- Return which keys are cached and have enough time left.
--
-- KEYS     the keys' names on the server
-- ARGV[1]  milliseconds that they must have left; 0: any cached key counts
-- Returns  one letter per key: y it is fresh, n it is not
local at_least, call, keys = tonumber(ARGV[1]), redis.call, KEYS -- local names are found sooner

local function is_fresh(key)
  local left = call('PTTL', key)
  return left >= at_least or left == -1 -- -1: it is there and has no end; -2: it is not there
end

-- Usually all are fresh, which needs no list.
local fresh, looked_at = 0, 0
if at_least == 0 then
  -- One call counts the existing keys; a script can pass about 8,000 values at once.
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
