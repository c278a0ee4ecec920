-- A consumer no longer holds some executions. KEYS: consumers
unhindered(KEYS[1])
local base, me, onward = ARGV[1], ARGV[2], ARGV[3] == '1'
for place = 4, #ARGV do
  if redis.call('SREM', base .. 'held:' .. me, ARGV[place]) == 1 and onward then
    assign(base, ARGV[place])
  end
end
return 1
