#!lua
-- Limits of one team, in one step. With the line above, a server that may not write refuses before anything is done.
--
-- Requests and images are windows: a string of how much of one is used, then its slots, oldest first: a time and an
-- amount each. What comes within the same 60th of a window shares a slot and lapses with the last of it, so a window
-- costs the same whether ten or a million are let in. What a request wants of images is noted under its id, whether
-- these are limited or not: by that it is known again, and they can be given back. One that wants none is not noted.
-- Requests at once are leases: sorted sets of `id` by the time they end. Times are milliseconds of the server's own
-- clock. Nothing that a script has written is undone when it fails, so everything is read first and written last.
-- A script's functions are made anew by each call of it, which costs about as much as what they do: only what stands in
-- two places is one.

local NEVER = math.huge
local CROWDED = 1000 -- a place among requests at once: nobody knows when one is free
local SLOTS = 60
local MOST_SWEPT = 100
local USED, SLOT = '>I6', '>I6I4' -- as struct packs them, and how long that is:
local USED_SIZE, SLOT_SIZE = 6, 10

-- Replicas get all of this, for a fail-over; an append-only file does not, for it lapses within a minute.
redis.set_repl(redis.REPL_REPLICA)

local call, floor, pack, read, sub = redis.call, math.floor, struct.pack, struct.unpack, string.sub
local what = ARGV[1]

-- ARGV: ids.
if what == 'release' then
  for index = 1, #KEYS do
    call('ZREM', KEYS[index], unpack(ARGV, 2))
  end
  return
end

local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

-- ARGV: lease, ids. Also leases that the server has lost, or that ended while their worker was away: they are held.
if what == 'renew' then
  local lease = tonumber(ARGV[2])
  local entries = {}
  for index = 3, #ARGV do
    entries[#entries + 1] = now + lease
    entries[#entries + 1] = ARGV[index]
  end
  for index = 1, #KEYS do
    call('ZADD', KEYS[index], unpack(entries))
    call('PEXPIRE', KEYS[index], lease)
  end
  return
end

-- What is used of a window, and its slots; those last taken from at `since` or before have lapsed and are left out.
-- What is no window of ours, for somebody else wrote it, is an empty one.
local function window_of(data, since)
  if not data or #data < USED_SIZE or (#data - USED_SIZE) % SLOT_SIZE ~= 0 then
    return 0, ''
  end
  local used, at = read(USED, data), USED_SIZE + 1
  while at < #data do
    local taken_at, amount = read(SLOT, data, at)
    if taken_at > since then
      break
    end
    used, at = used - amount, at + SLOT_SIZE
  end
  return used, sub(data, at)
end

-- ARGV: images. KEYS: the windows of images, then what is noted of the id. That ends before its slots do.
if what == 'give_back' then
  local values = call('MGET', unpack(KEYS))
  local note = values[#KEYS]
  if not note or #note ~= SLOT_SIZE then
    return
  end
  local noted_at, left = read(SLOT, note)
  local images = math.min(tonumber(ARGV[2]), left)
  for index = 1, #KEYS - 1 do
    local used, slots = window_of(values[index], 0)
    for at = 1, #slots, SLOT_SIZE do
      local taken_at, amount = read(SLOT, slots, at)
      if taken_at >= noted_at then
        local given = math.min(images, amount)
        local slot = given < amount and pack(SLOT, taken_at, amount - given) or ''
        local others = sub(slots, 1, at - 1) .. slot .. sub(slots, at + SLOT_SIZE)
        call('SET', KEYS[index], pack(USED, used - given) .. others, 'KEEPTTL')
        break
      end
    end
  end
  call('SET', KEYS[#KEYS], pack(SLOT, noted_at, left - images), 'KEEPTTL')
  return
end

if what ~= 'admit' and what ~= 'admit_kept' then
  return redis.error_reply('ERR nothing here is called ' .. tostring(what))
end

-- `admit` lets in whatever has room. `admit_kept` does so only where all pictures are there: else nothing is taken, and
-- the answer is empty. Nothing is noted of such a request, for it wants no image, so that its id says nothing.
-- ARGV: what is the same in all requests of a caller, an id, and images. The first is packed: window and lease, how
-- many limits there are of requests, of images, and at once, then the most of each. KEYS: one of each limit in that
-- order, one of the id, then the pictures to look up; where there are any, the images are those that are not there.
-- Returns: which limit refuses (0: none), the wait (-1: no wait helps), whether a place at once is held, then used and
-- reset of each limit of requests and images, then what was looked up.
local window, lease, of_requests, of_images, at_once, most_at = read('>I6I6I1I1I1', ARGV[2])
local windows = of_requests + of_images
local limits = windows + at_once
local note_at = limits + 1
local values = call('MGET', unpack(KEYS)) -- a sorted set among them reads as nothing
local images = tonumber(ARGV[4])
if #KEYS > note_at then
  images = 0
  for index = note_at + 1, #KEYS do
    images = images + (values[index] and 0 or 1)
  end
end
if what == 'admit_kept' and images > 0 then
  return {}
end
local known = what == 'admit' and values[note_at]

-- What is needed and used of each limit, and which refuses longest: 0 for none.
local needs, used, slots, lapsed = {}, {}, {}, {}
local refusing, longest = 0, 0
for index = 1, limits do
  local most, need, taken, wait = nil, 0, 0, 0
  most, most_at = read(USED, ARGV[2], most_at)
  if index <= windows then
    need = known and 0 or (index <= of_requests and 1 or images)
    taken, slots[index] = window_of(values[index], now - window)
  elseif images > 0 and not known then
    need = 1
    taken, lapsed[index] = redis.pcall('ZCARD', KEYS[index]), 0
    if type(taken) == 'table' then -- what somebody else wrote under our key is no set: it goes
      call('UNLINK', KEYS[index])
      taken = 0
    elseif taken > 0 then
      lapsed[index] = call('ZCOUNT', KEYS[index], '-inf', now)
      taken = taken - lapsed[index]
    end
  end
  local over = taken + need - most
  if need > most then
    wait = NEVER
  elseif need > 0 and over > 0 then
    wait = CROWDED
    if index <= windows then
      wait = window
      -- Until as much of it is free again as it is over.
      for at = 1, #slots[index], SLOT_SIZE do
        local taken_at, freed = read(SLOT, slots[index], at)
        over = over - freed
        if over <= 0 then
          wait = math.max(1, taken_at + window - now)
          break
        end
      end
    end
  end
  if wait > longest then
    refusing, longest = index, wait
  end
  needs[index], used[index] = need, taken
end

-- All that is needed is taken, or nothing.
local is_leased = 0
if refusing == 0 then
  for index = 1, windows do
    local need, kept = needs[index], slots[index]
    if need > 0 then
      used[index] = used[index] + need
      if kept ~= '' then
        local last_at, amount = read(SLOT, kept, #kept - SLOT_SIZE + 1)
        if floor(last_at * SLOTS / window) == floor(now * SLOTS / window) then
          kept, need = sub(kept, 1, -SLOT_SIZE - 1), need + amount
        end
      end
      call('SET', KEYS[index], pack(USED, used[index]) .. kept .. pack(SLOT, now, need), 'PX', window)
    end
  end
  for index = windows + 1, limits do
    local key = KEYS[index]
    if needs[index] > 0 then
      if lapsed[index] > 0 then
        call('ZREMRANGEBYRANK', key, 0, math.min(lapsed[index], MOST_SWEPT) - 1)
      end
      call('ZADD', key, now + lease, ARGV[3])
      call('PEXPIRE', key, lease)
      is_leased = 1
    elseif known and call('ZSCORE', key, ARGV[3]) then
      is_leased = 1
    end
  end
  if images > 0 and not known then
    call('SET', KEYS[note_at], pack(SLOT, now, images), 'PX', window)
  end
end

local answer = { refusing, longest == NEVER and -1 or longest, is_leased }
for index = 1, windows do
  local kept, reset = slots[index], 0
  if refusing == 0 and needs[index] > 0 then
    reset = window
  elseif kept ~= '' then
    reset = read(SLOT, kept, #kept - SLOT_SIZE + 1) + window - now
  end
  answer[#answer + 1] = used[index]
  answer[#answer + 1] = reset
end
for index = note_at + 1, #KEYS do
  answer[#answer + 1] = values[index]
end
return answer
