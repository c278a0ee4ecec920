-- Forgets what is stored, lets waiting producers in, and ends what has its end.
-- KEYS: stream, state, producers, closed, bytes of each
-- ARGV: base, inline, group, me, tombstone ms, idle ms; of each fid, token, ms, offset, size, since, room
local base, inline, group, me = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4]
local tombstone_ms, idle_ms = ARGV[5], ARGV[6]
unhindered(KEYS[2])
local answers, fids = {}, {}
local ms = clock()
local freed = false
for place = 1, #KEYS / 5 do
  local stream, state, producers, closed, bytes = unpack(KEYS, place * 5 - 4, place * 5)
  local fid, token, at, given, size, since, room = unpack(ARGV, place * 7, place * 7 + 6)
  local offset = tonumber(given)
  local found = redis.call('HMGET', state, 'epoch', 'token', 'last', 'acked', 'stored', 'closed', 'waiters', 'reborn')
  fids[#fids + 1] = fid
  if not found[1] then
    answers[place] = 'gone'
  elseif found[2] ~= token then
    answers[place] = 'fenced'
  else
    local last, acked = number(found[3]), number(found[4])
    if offset > acked then
      local id = at .. '-' .. given
      while true do
        local pending = redis.call('XPENDING', stream, group, '-', id, 1000)
        if #pending == 0 then
          break
        end
        local ids = {}
        for number, one in ipairs(pending) do
          ids[number] = one[1]
        end
        redis.call('XACK', stream, group, unpack(ids))
      end
      redis.call('XTRIM', stream, 'MINID', '=', at .. '-' .. int(offset + 1))
      if redis.call('DECRBY', bytes, int(tonumber(size) - number(found[5]))) <= 0 then
        redis.call('DEL', bytes)
      end
      redis.call('HSET', state, 'acked', given, 'stored', size, 'since', since)
      acked = offset
      freed = true
    end
    local line = found[7] and cjson.decode(found[7]) or {}
    if acked >= last and found[6] then
      redis.call('SET', closed, found[6] .. ' ' .. found[1] .. ' ' .. int(last), 'PX', tombstone_ms)
      redis.call('DEL', stream, state, producers)
      if inline then
        settle(base, me, fid)
      end
      for _, one in ipairs(line) do
        wake(room .. one[1])
      end
      answers[place] = 'over'
    else
      if acked >= last then
        redis.call('HDEL', state, 'since')
        if found[8] then
          for _, key in ipairs({ stream, state, producers }) do
            redis.call('PEXPIRE', key, idle_ms)
          end
        end
      end
      if line[1] then
        wake(room .. line[1][1])
      end
      answers[place] = 'ok'
    end
  end
end
if inline then
  if freed then
    local stalled = redis.call('ZPOPMIN', base .. 'stalled', 100)
    for place = 1, #stalled, 2 do
      wake(stalled[place])
    end
  end
  publish(base, me, fids)
end
return answers
