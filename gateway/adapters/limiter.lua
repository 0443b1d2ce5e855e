#!lua
-- Limits of one team, in one step. With the line above, a server that may not write refuses before anything is done.
--
-- Requests and images are windows: a string of how much of one is used, then its slots, oldest first: a time and an
-- amount each. What comes within the same 60th of a window shares a slot and lapses with the last of it, so a window
-- costs the same whether ten or a million are let in. What a request wants of images is noted under its id, whether
-- these are limited or not: by that it is known again, and they can be given back. One that wants none is not noted.
-- Requests at once are leases: sorted sets of `id` by the time they end. Times are milliseconds of the server's own
-- clock. Nothing that a script has written is undone when it fails, so everything is read first and written last.

local NEVER = math.huge
local CROWDED = 1000 -- a place among requests at once: nobody knows when one is free
local SLOTS = 60
local MOST_SWEPT = 100
local USED, SLOT = '>I6', '>I6I4' -- as struct packs them, and how long that is:
local USED_SIZE, SLOT_SIZE = 6, 10

-- Replicas get all of this, for a fail-over; an append-only file does not, for it lapses within a minute.
redis.set_repl(redis.REPL_REPLICA)

local call, floor, pack, read, sub = redis.call, math.floor, struct.pack, struct.unpack, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

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

local function last_of(slots)
  return read(SLOT, slots, #slots - SLOT_SIZE + 1)
end

-- Milliseconds until so much of a window is free again.
local function until_free(slots, amount, window)
  for at = 1, #slots, SLOT_SIZE do
    local taken_at, freed = read(SLOT, slots, at)
    amount = amount - freed
    if amount <= 0 then
      return math.max(1, taken_at + window - now)
    end
  end
  return window
end

local function take(key, used, slots, need, window)
  if slots ~= '' then
    local last_at, amount = last_of(slots)
    if floor(last_at * SLOTS / window) == floor(now * SLOTS / window) then
      slots, need = sub(slots, 1, -SLOT_SIZE - 1), need + amount
    end
  end
  call('SET', key, pack(USED, used) .. slots .. pack(SLOT, now, need), 'PX', window)
end

-- How many places are taken, and how many leases have lapsed. What somebody else wrote under our key is no set: it goes.
local function places_of(key)
  local all = redis.pcall('ZCARD', key)
  if type(all) == 'table' then
    call('UNLINK', key)
    return 0, 0
  end
  if all == 0 then
    return 0, 0
  end
  local lapsed = call('ZCOUNT', key, '-inf', now)
  return all - lapsed, lapsed
end

local function occupy(key, lapsed, id, lease)
  if lapsed > 0 then
    call('ZREMRANGEBYRANK', key, 0, math.min(lapsed, MOST_SWEPT) - 1)
  end
  call('ZADD', key, now + lease, id)
  call('PEXPIRE', key, lease)
end

-- What is asked, and what stands under the keys.
local function asked()
  local window, lease, of_requests, of_images, at_once, mosts_at = read('>I6I6I1I1I1', ARGV[2])
  local windows = of_requests + of_images
  local limits = windows + at_once
  local values = call('MGET', unpack(KEYS)) -- a sorted set among them reads as nothing
  local images, note_at = tonumber(ARGV[4]), limits + 1
  if #KEYS > note_at then
    images = 0
    for index = note_at + 1, #KEYS do
      images = images + (values[index] and 0 or 1)
    end
  end
  return {
    id = ARGV[3], images = images, known = values[note_at], note_at = note_at, values = values, mosts_at = mosts_at,
    window = window, lease = lease, of_requests = of_requests, windows = windows, limits = limits,
    needs = {}, used = {}, slots = {}, lapsed = {},
  }
end

-- Read what is needed and used of a limit; the milliseconds until it has room for that, 0 if it has now.
local function wait_for(ask, index, most)
  local need, is_window = 0, index <= ask.windows
  if is_window then
    need = ask.known and 0 or (index <= ask.of_requests and 1 or ask.images)
    ask.used[index], ask.slots[index] = window_of(ask.values[index], now - ask.window)
  elseif ask.images > 0 and not ask.known then
    need = 1
    ask.used[index], ask.lapsed[index] = places_of(KEYS[index])
  end
  ask.needs[index] = need
  local over = need > 0 and ask.used[index] + need - most or 0
  if need > most then
    return NEVER
  elseif over <= 0 then
    return 0
  end
  return is_window and until_free(ask.slots[index], over, ask.window) or CROWDED
end

-- Which limit refuses longest, 0 for none, and how long.
local function refusal_of(ask)
  local refusing, longest, at = 0, 0, ask.mosts_at
  for index = 1, ask.limits do
    local most
    most, at = read(USED, ARGV[2], at)
    local wait = wait_for(ask, index, most)
    if wait > longest then
      refusing, longest = index, wait
    end
  end
  return refusing, longest
end

-- Take all that is needed; whether a place at once is held.
local function take_all(ask)
  local is_leased = 0
  for index = 1, ask.limits do
    local need = ask.needs[index]
    if index <= ask.windows and need > 0 then
      ask.used[index] = ask.used[index] + need
      take(KEYS[index], ask.used[index], ask.slots[index], need, ask.window)
    elseif index > ask.windows and need > 0 then
      occupy(KEYS[index], ask.lapsed[index], ask.id, ask.lease)
      is_leased = 1
    elseif index > ask.windows and ask.known and call('ZSCORE', KEYS[index], ask.id) then
      is_leased = 1
    end
  end
  if ask.images > 0 and not ask.known then
    call('SET', KEYS[ask.note_at], pack(SLOT, now, ask.images), 'PX', ask.window)
  end
  return is_leased
end

-- ARGV: what is the same in all requests of a caller, an id, and images. The first is packed: window and lease, how
-- many limits there are of requests, of images, and at once, then the most of each. KEYS: one of each limit in that
-- order, one of the id, then the pictures to look up; where there are any, the images are those that are not there.
-- Returns: which limit refuses (0: none), the wait (-1: no wait helps), whether a place at once is held, then used and
-- reset of each limit of requests and images, then what was looked up.
local function decide(ask)
  local refusing, longest = refusal_of(ask)
  local is_admitted = refusing == 0
  local is_leased = is_admitted and take_all(ask) or 0
  local answer = { refusing, longest == NEVER and -1 or longest, is_leased }
  for index = 1, ask.windows do
    local slots, reset = ask.slots[index], 0
    if is_admitted and ask.needs[index] > 0 then
      reset = ask.window
    elseif slots ~= '' then
      reset = last_of(slots) + ask.window - now
    end
    answer[#answer + 1] = ask.used[index]
    answer[#answer + 1] = reset
  end
  for index = ask.note_at + 1, #KEYS do
    answer[#answer + 1] = ask.values[index]
  end
  return answer
end

local function admit()
  return decide(asked())
end

-- As `admit`; but where a picture is not there nothing is taken, and the answer is empty. Nothing is noted of such a
-- request, for it wants no image, so that its id says nothing.
local function admit_kept()
  local ask = asked()
  ask.known = nil
  return ask.images > 0 and {} or decide(ask)
end

-- ARGV: lease, ids. Also leases that the server has lost, or that ended while their worker was away: they are held.
local function renew()
  local lease = tonumber(ARGV[2])
  local entries = {}
  for index = 3, #ARGV do
    entries[#entries + 1] = now + lease
    entries[#entries + 1] = ARGV[index]
  end
  for _, key in ipairs(KEYS) do
    call('ZADD', key, unpack(entries))
    call('PEXPIRE', key, lease)
  end
end

-- ARGV: ids.
local function release()
  for _, key in ipairs(KEYS) do
    call('ZREM', key, unpack(ARGV, 2))
  end
end

-- ARGV: images. KEYS: the windows of images, then what is noted of the id. That ends before its slots do.
local function give_back()
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
end

return ({ admit = admit, admit_kept = admit_kept, renew = renew, release = release, give_back = give_back })[ARGV[1]]()
