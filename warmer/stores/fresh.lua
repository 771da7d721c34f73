-- Say which keys are cached and live for a while yet.
--
-- KEYS     the keys as the server knows them
-- ARGV[1]  milliseconds that they must have left; 0: any that are there
-- Returns  one letter a key: y it does, n it does not
local at_least, call = tonumber(ARGV[1]), redis.call
if at_least == 0 then
  -- Mostly all are there, which one call tells; a script may hand on about 8,000 values at once.
  local found = 0
  for i = 1, #KEYS, 4000 do
    found = found + call('EXISTS', unpack(KEYS, i, math.min(i + 3999, #KEYS)))
  end
  if found == #KEYS then return string.rep('y', found) end
end
local letters, fresh = {}, 0
for i = 1, #KEYS do
  local left = call('PTTL', KEYS[i])
  -- -1: it is there and has no end; -2: it is not there
  if left >= at_least or left == -1 then
    letters[i], fresh = 'y', fresh + 1
  else
    letters[i] = 'n'
  end
end
return fresh == #KEYS and string.rep('y', fresh) or table.concat(letters)
