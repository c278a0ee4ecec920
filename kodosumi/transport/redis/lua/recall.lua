-- Tells producers what a consumer remembers of an execution that is not here any more.
-- KEYS: recall; ARGV: ms to keep, fields and values
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
