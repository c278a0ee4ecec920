-- What the other scripts use; it is put before each of them.
--
-- `base` is how the keys begin that all spoolers of a group share: who they are, what each holds, whom to tell what.
-- One spooler reads an execution at a time. Whom it is assigned to gets a grant, a number that only grows: it is the
-- fencing token of every later read and acknowledgement, so that an earlier reader's do nothing.

local function clock()
  local now = redis.call('TIME')
  local micros = tonumber(now[1]) * 1000000 + tonumber(now[2])
  return math.floor(micros / 1000), micros
end

-- Lua writes large numbers as 1.7e+15.
local function int(number)
  return string.format('%.0f', number)
end

local function number(text)
  return tonumber(text or 0) or 0
end

-- Lets a script do all of its work when the server is out of memory: it is asked for only before the first write.
local function unhindered(key)
  redis.call('PEXPIRE', key .. ':', 1)
end

-- Gives an execution to the living spooler that holds the fewest, or leaves it for the first that comes.
local function assign(base, fid)
  local ms, micros = clock()
  local chosen, least
  for _, one in ipairs(redis.call('ZRANGEBYSCORE', base .. 'consumers', int(ms), '+inf')) do
    local held = redis.call('SCARD', base .. 'held:' .. one)
    if not least or held < least then
      chosen, least = one, held
    end
  end
  if not chosen then
    redis.call('ZADD', base .. 'unread', 'NX', int(micros), fid)
    return
  end
  -- By the clock, so that it grows even when the server comes back with an old state.
  local grant = int(math.max(micros, number(redis.call('GET', base .. 'grants')) + 1))
  redis.call('SET', base .. 'grants', grant, 'PX', 86400000)
  redis.call('ZREM', base .. 'unread', fid)
  redis.call('SADD', base .. 'held:' .. chosen, fid)
  redis.call('XADD', base .. 'bell:' .. chosen, '*', 'grant', fid, 'token', grant)
end

-- Tells who holds an execution that something came. One that is gone needs no word: its share is assigned anew.
local function ring(base, fid, holder, again)
  if not holder then
    assign(base, fid)
  elseif redis.call('ZSCORE', base .. 'consumers', holder) then
    redis.call('XADD', base .. 'bell:' .. holder, '*', 'news', fid)
  elseif again then
    assign(base, fid)
  end
end

-- Wakes a producer that waits for room.
local function wake(key)
  redis.call('DEL', key)
  redis.call('RPUSH', key, 1)
  redis.call('PEXPIRE', key, 10000)
end

-- Takes everything from a consumer and gives it to others.
local function dismiss(base, consumer)
  local held = redis.call('SMEMBERS', base .. 'held:' .. consumer)
  redis.call('DEL', base .. 'held:' .. consumer, base .. 'bell:' .. consumer, base .. 'facts:' .. consumer)
  redis.call('ZREM', base .. 'consumers', consumer)
  for _, fid in ipairs(held) do
    assign(base, fid)
  end
end

-- Forgets an execution that has its end. It may wait for another reader already: its last one has just left.
local function settle(base, me, fid)
  redis.call('SREM', base .. 'held:' .. me, fid)
  redis.call('ZREM', base .. 'unread', fid)
end

-- Tells those who follow what is stored, and when it was.
local function publish(base, me, fids)
  redis.call('XADD', base .. 'commits', 'MAXLEN', '~', 10000, '*', 'fids', table.concat(fids, ' '))
  redis.call('PEXPIRE', base .. 'commits', 600000)
  if redis.call('EXISTS', base .. 'facts:' .. me) == 1 then
    redis.call('HSET', base .. 'facts:' .. me, 'last_commit_ms', int(clock()))
  end
end
