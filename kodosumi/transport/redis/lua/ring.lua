-- What put.lua does itself where all keys lie on one server. KEYS: consumers
unhindered(KEYS[1])
local base, fid, holder, again = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
ring(base, fid, holder ~= '?' and holder, again)
return 1
