-- A consumer lives: joins, keeps its lease, takes from those whose lease has run out.
-- KEYS: consumers
local base, me, lease_ms, joins = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local name, mark, heard = ARGV[5], ARGV[6], ARGV[7]
unhindered(KEYS[1])
local ms = clock()
redis.call('SET', base .. 'incarnation', mark, 'NX')
redis.call('PEXPIRE', base .. 'incarnation', 604800000)
local incarnation = redis.call('GET', base .. 'incarnation')
for _, one in ipairs(redis.call('ZRANGEBYSCORE', base .. 'consumers', '-inf', '(' .. int(ms))) do
  if one ~= me or joins then
    dismiss(base, one)
  end
end
local deadline = redis.call('ZSCORE', base .. 'consumers', me)
if not deadline and not joins then
  return { '0', incarnation, '0', '0', '0' }
end
redis.call('ZADD', base .. 'consumers', int(ms + lease_ms), me)
redis.call('XTRIM', base .. 'bell:' .. me, 'MINID', '=', heard)
redis.call('HSET', base .. 'facts:' .. me, 'name', name)
redis.call('PEXPIRE', base .. 'facts:' .. me, int(lease_ms))
for _, fid in ipairs(redis.call('ZRANGE', base .. 'unread', 0, -1)) do
  assign(base, fid)
end
local total, mine = 0, 0
local living = redis.call('ZRANGE', base .. 'consumers', 0, -1)
for _, one in ipairs(living) do
  local held = redis.call('SCARD', base .. 'held:' .. one)
  total = total + held
  if one == me then
    mine = held
  elseif not deadline and held > 0 then
    redis.call('XADD', base .. 'bell:' .. one, '*', 'balance', '1')
  end
end
return { '1', incarnation, int(#living), int(total), int(mine) }
