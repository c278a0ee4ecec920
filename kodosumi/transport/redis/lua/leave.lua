-- A consumer goes; others get what it held. KEYS: consumers
unhindered(KEYS[1])
dismiss(ARGV[1], ARGV[2])
return 1
