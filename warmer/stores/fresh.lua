-- Say which keys are cached and live for a while yet.
--
-- KEYS     the keys as the server knows them
-- ARGV[1]  milliseconds that they must have left; 0: any that are there
-- Returns  one letter a key: y it does, n it does not
local at_least, letters = tonumber(ARGV[1]), {}
if at_least == 0 then
  -- Mostly all are there, which one call tells; a script may hand on about 8,000 values at once.
  local found = 0
  for i = 1, #KEYS, 4000 do
    found = found + redis.call('EXISTS', unpack(KEYS, i, math.min(i + 3999, #KEYS)))
  end
  if found == #KEYS then return string.rep('y', found) end
end
for i = 1, #KEYS do
  local left = redis.call('PTTL', KEYS[i])
  -- -1: it is there and has no end; -2: it is not there
  letters[i] = (left >= at_least or left == -1) and 'y' or 'n'
end
return table.concat(letters)
