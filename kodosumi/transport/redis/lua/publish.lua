-- What ack.lua does itself where all keys lie on one server. KEYS: consumers; ARGV: base, me, what ended, all
unhindered(KEYS[1])
local base, me, ended = ARGV[1], ARGV[2], ARGV[3]
for fid in string.gmatch(ended, '%S+') do
  settle(base, me, fid)
end
publish(base, me, { ARGV[4] })
return 1
