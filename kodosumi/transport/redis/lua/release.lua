-- A reader gives executions back, in whatever state. KEYS: state of each; ARGV: token of each
for place, state in ipairs(KEYS) do
  if redis.call('HGET', state, 'token') == ARGV[place] then
    redis.call('HDEL', state, 'holder')
  end
end
return 1
