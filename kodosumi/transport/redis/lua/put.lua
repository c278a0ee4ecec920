-- Takes one batch of an execution, or says why not.
-- KEYS: stream, state, producers, closed, recall, bytes
local stream, state, producers, closed, recall, bytes = unpack(KEYS)
local base, inline, group, fid, user, room = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local producer, seq = ARGV[7], tonumber(ARGV[8])
local past_epoch, past_offset = ARGV[9], number(ARGV[10])
local uncertain, settled = ARGV[11] == '1', ARGV[12] == '1'
local count, ends, wire = tonumber(ARGV[13]), ARGV[14] == '1', ARGV[15]
local max_events, max_bytes, patience_ms = tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18])
local attempt = tonumber(ARGV[19])

local over = redis.call('GET', closed)
if over then
  local closer, closing, epoch, offset = string.match(over, '^(%S+) (%S+) (%S+) (%S+)$')
  if closer == producer and tonumber(closing) >= seq then
    return { 'taken', epoch, offset, '0', '', '0' }
  end
  return { 'closed' }
end

local found = redis.call('HMGET', state, 'epoch', 'last', 'acked', 'closed', 'holder', 'rung', 'newest', 'waiters',
  'size', 'ms', 'assigned', 'reborn', 'attempt')
local epoch, last, acked, newest = found[1], number(found[2]), number(found[3]), found[7]
local ms, micros = clock()

local known = redis.call('HGET', producers, producer)
if known then
  local known_seq, offset = string.match(known, '^(%S+) (%S+)$')
  if tonumber(known_seq) >= seq then
    local call = not inline and (found[5] or '?') or ''
    return { 'taken', epoch or '0', offset, newest ~= producer and '1' or '0', call, '0' }
  end
end
if found[4] then
  return { 'closed' }
end

-- Nothing of an earlier attempt comes after a later one. A put in doubt is told so once it's clear that it isn't in.
local overtaken = false
if attempt then
  local latest = math.max(number(found[13]), number(redis.call('HGET', recall, 'attempt')))
  overtaken = attempt < latest
  if overtaken and epoch and latest > number(found[13]) then
    redis.call('HSET', state, 'attempt', int(latest))
  end
  if overtaken and not uncertain then
    return { 'overtaken' }
  end
end

-- What this producer, or somebody before it, had put is not here: only consumers may know what became of it.
if not settled and ((past_epoch ~= '' and past_epoch ~= epoch) or (uncertain and not epoch)) then
  return { 'unknown', redis.call('HGETALL', recall) }
end
if overtaken then
  return { 'overtaken' }
end
if epoch and past_epoch == epoch and past_offset > last then
  -- The server came back with an older state than it had answered for.
  redis.call('HSET', state, 'epoch', int(math.max(ms, tonumber(epoch) + 1)), 'reborn', '1')
  return { 'lost' }
end

-- Who waits for room is let in in order; who has not asked for a while no longer waits, and no earlier attempt.
local line, place = {}, nil
if found[8] then
  for _, one in ipairs(cjson.decode(found[8])) do
    if one[1] == producer then
      line[#line + 1] = one
      one[2] = ms
      place = #line
    elseif attempt and one[3] and one[3] < attempt then
      wake(room .. one[1])
    elseif one[2] + patience_ms > ms then
      line[#line + 1] = one
    end
  end
end
if attempt and epoch and attempt > number(found[13]) then
  redis.call('HSET', state, 'attempt', int(attempt))
end
local stalled = number(redis.call('GET', bytes)) >= max_bytes
local fits = last == acked or last - acked + count <= max_events
if stalled or not fits or (#line > 0 and line[1][1] ~= producer) then
  if epoch then
    if not place then
      line[#line + 1] = { producer, ms, attempt }
    end
    redis.call('HSET', state, 'waiters', cjson.encode(line))
  end
  if stalled and inline then
    redis.call('ZADD', base .. 'stalled', 'NX', int(micros), room .. producer)
    redis.call('PEXPIRE', base .. 'stalled', 60000)
  end
  return { 'full' }
end

if not epoch then
  epoch = int(math.max(ms, number(past_epoch) + 1))
  redis.call('HSET', state, 'epoch', epoch, 'user', user)
  if attempt then
    redis.call('HSET', state, 'attempt', int(attempt))
  end
  if past_epoch ~= '' then
    redis.call('HSET', state, 'reborn', '1')
  end
  redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
end
local offset = last + count
local at = math.max(ms, number(found[10]), tonumber(epoch))
local size = number(found[9]) + #wire
local id = int(at) .. '-' .. int(offset)
if attempt then
  redis.call('XADD', stream, id, 'e', wire, 'p', producer, 's', ARGV[8], 'b', int(size), 'a', int(attempt))
else
  redis.call('XADD', stream, id, 'e', wire, 'p', producer, 's', ARGV[8], 'b', int(size))
end
redis.call('HSET', state, 'last', int(offset), 'size', int(size), 'ms', int(at))
redis.call('INCRBY', bytes, #wire)
if last == acked then
  redis.call('HSET', state, 'since', int(ms))
end
if found[12] then
  for _, key in ipairs({ stream, state, producers }) do
    redis.call('PERSIST', key)
  end
end
if not known then
  newest = producer
  redis.call('HSET', state, 'newest', producer)
  if redis.call('HLEN', producers) >= 4096 then
    local forgotten, least
    local some = redis.call('HRANDFIELD', producers, 16, 'WITHVALUES')
    for place = 1, #some, 2 do
      local begun = tonumber(string.match(some[place + 1], ' (%S+)$'))
      if not least or begun < least then
        forgotten, least = some[place], begun
      end
    end
    redis.call('HDEL', producers, forgotten)
  end
end
redis.call('HSET', producers, producer, ARGV[8] .. ' ' .. int(offset))
if ends then
  redis.call('HSET', state, 'closed', producer .. ' ' .. ARGV[8])
end

if found[8] then
  table.remove(line, 1)
  if #line > 0 then
    redis.call('HSET', state, 'waiters', cjson.encode(line))
    for place, one in ipairs(line) do
      if place == 1 or ends then
        wake(room .. one[1])
      end
    end
  else
    redis.call('HDEL', state, 'waiters')
  end
end

-- A bell that was rung and not heard for long is rung again, to whoever reads now.
local rung, again = number(found[6]), false
local call = ''
if rung == 0 or rung + 5000 < ms then
  again = rung > 0
  call = found[5] or (not found[11] or again) and '?' or ''
  redis.call('HSET', state, 'rung', int(ms), 'assigned', '1')
  if call ~= '' and inline then
    ring(base, fid, found[5], again)
    call = ''
  end
end
return { 'taken', epoch, int(offset), newest ~= producer and '1' or '0', call, again and '1' or '0' }
