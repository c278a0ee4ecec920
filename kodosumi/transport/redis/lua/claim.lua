-- Makes a consumer the reader of executions it was assigned: what an earlier one had read is its own now, in order.
-- KEYS: stream, state of each; ARGV: of each fid, grant
local base, inline, group, me = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4]
unhindered(KEYS[2])
local answers = {}
for place = 1, #KEYS / 2 do
  local stream, state = KEYS[place * 2 - 1], KEYS[place * 2]
  local fid, grant = ARGV[place * 2 + 3], ARGV[place * 2 + 4]
  local found = redis.call('HMGET', state, 'epoch', 'user', 'token', 'acked')
  if not found[1] then
    answers[place] = { 'gone' }
  elseif number(found[3]) > tonumber(grant) then
    answers[place] = { 'fenced' }
  else
    redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
    local cursor = '0-0'
    repeat
      local claimed = redis.call('XAUTOCLAIM', stream, group, me, 0, cursor, 'COUNT', 1000, 'JUSTID')
      cursor = claimed[1]
    until cursor == '0-0'
    redis.call('HSET', state, 'token', grant, 'holder', me)
    if inline then
      redis.call('SADD', base .. 'held:' .. me, fid)
    end
    answers[place] = { 'ok', found[2], found[1], found[4] or '0' }
  end
end
return answers
