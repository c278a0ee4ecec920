-- What waits in executions: events, milliseconds since the oldest came, producers that wait. KEYS: state of each
local ms = clock()
local answers = {}
for place, state in ipairs(KEYS) do
  local found = redis.call('HMGET', state, 'last', 'acked', 'since', 'waiters')
  local waiting = number(found[1]) - number(found[2])
  local age = waiting > 0 and found[3] and math.max(0, ms - tonumber(found[3])) or 0
  answers[place] = { waiting, age, found[4] and #cjson.decode(found[4]) or 0 }
end
return answers
