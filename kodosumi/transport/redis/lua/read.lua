-- Reads on in executions: first what this consumer was given and has not got, then what is new. The same call again
-- gives the same again. KEYS: stream, state of each; ARGV: of each token, id of the last entry it has, most events
local group, me, left_bytes = ARGV[1], ARGV[2], tonumber(ARGV[3])
local answers = {}
for place = 1, #KEYS / 2 do
  local stream, state = KEYS[place * 2 - 1], KEYS[place * 2]
  local token, cursor, left = ARGV[place * 3 + 1], ARGV[place * 3 + 2], tonumber(ARGV[place * 3 + 3])
  local found = redis.call('HMGET', state, 'epoch', 'token', 'acked')
  if not found[1] then
    answers[place] = { 'gone' }
  elseif found[2] ~= token then
    answers[place] = { 'fenced' }
  else
    local entries, more = {}, '1'
    -- An entry's number is how many events there are up to it.
    local offset = math.max(number(found[3]), tonumber(string.match(cursor, '-(%d+)$')))
    while left > 0 and left_bytes > 0 do
      local got = redis.pcall('XREADGROUP', 'GROUP', group, me, 'COUNT', 1, 'STREAMS', stream, cursor)
      if got and got.err then
        -- Somebody has deleted the stream under us.
        redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
        got = false
      end
      local entry = got and got[1] and got[1][2][1]
      if not entry then
        if cursor == '>' then
          more = '0'
          redis.call('HDEL', state, 'rung')
          break
        end
        cursor = '>'
      elseif not entry[2] then
        redis.call('XACK', stream, group, entry[1])
      else
        entries[#entries + 1] = entry
        local reached = tonumber(string.match(entry[1], '-(%d+)$'))
        left = left - (reached - offset)
        offset = reached
        left_bytes = left_bytes - #entry[2][2]
        if cursor ~= '>' then
          cursor = entry[1]
        end
      end
    end
    answers[place] = { 'ok', more, entries }
  end
end
return answers
