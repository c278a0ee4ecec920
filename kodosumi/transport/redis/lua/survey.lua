-- Who reads what. KEYS: consumers; ARGV: base, most executions named
local base, most = ARGV[1], tonumber(ARGV[2])
local ms = clock()
local function named(fids)
  local some = {}
  for place = 1, math.min(#fids, most) do
    some[place] = fids[place]
  end
  most = most - #some
  return some
end
local answers = {}
for _, one in ipairs(redis.call('ZRANGEBYSCORE', base .. 'consumers', int(ms), '+inf')) do
  local fids = redis.call('SMEMBERS', base .. 'held:' .. one)
  local facts = redis.call('HMGET', base .. 'facts:' .. one, 'name', 'last_commit_ms')
  answers[#answers + 1] = { one, facts[1] or '', facts[2] or '', #fids, named(fids) }
end
local unread = redis.call('ZRANGE', base .. 'unread', 0, -1)
answers[#answers + 1] = { '', '', '', #unread, named(unread) }
-- What a dead consumer held waits for the next living one.
for _, one in ipairs(redis.call('ZRANGEBYSCORE', base .. 'consumers', '-inf', '(' .. int(ms))) do
  local fids = redis.call('SMEMBERS', base .. 'held:' .. one)
  answers[#answers + 1] = { '', '', '', #fids, named(fids) }
end
return answers
