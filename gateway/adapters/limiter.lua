#!lua
-- Limits of one team, in one step. With the line above, a server that may not write refuses before anything is done.
--
-- Requests and images are windows: a string of how much of one is used, then its slots, oldest first: a time and an
-- amount each. What comes within the same 60th of a window shares a slot and lapses with the last of it, so a window
-- costs the same whether ten or a million are let in. What a request took of windows of images is noted under its id:
-- by that it is known again, and they can be given back.
-- Requests at once are leases: sorted sets of `id` by the time they end. Times are milliseconds of the server's own
-- clock. Nothing that a script has written is undone when it fails, so everything is read first and written last.

local NEVER = math.huge
local CROWDED = 1000 -- a place among requests at once: nobody knows when one is free
local SLOTS = 60
local MOST_SWEPT = 100
local USED, SLOT = '>I6', '>I6I4' -- as struct packs them, and how long that is:
local USED_SIZE, SLOT_SIZE = 6, 10

-- Replicas have them, for a fail-over; an append-only file would hold nothing but what lapses within a minute.
redis.set_repl(redis.REPL_REPLICA)

local call, floor, pack, read, sub = redis.call, math.floor, struct.pack, struct.unpack, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

-- What is used of a window, and its slots; those that lapsed by `since` are left out. What is no window of ours, for
-- somebody else wrote it, is an empty one.
local function window_of(data, since)
  if not data or #data < USED_SIZE or (#data - USED_SIZE) % SLOT_SIZE ~= 0 then
    return 0, ''
  end
  local used, at = read(USED, data), USED_SIZE + 1
  while at < #data do
    local lapses, amount = read(SLOT, data, at)
    if lapses > since then
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
    local lapses, freed = read(SLOT, slots, at)
    amount = amount - freed
    if amount <= 0 then
      return math.max(1, lapses + window - now)
    end
  end
  return window
end

local function take(key, used, slots, need, window)
  if slots ~= '' then
    local last, amount = last_of(slots)
    if floor(last * SLOTS / window) == floor(now * SLOTS / window) then
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

-- ARGV: the caller's terms, an id, and images. The terms are packed: window and lease, how many limits there are of
-- requests, of images, and at once, then the most of each. KEYS: one of each limit in that order, one of the id, then
-- the pictures to look up; where there are any, the images are those that are not there.
-- Returns: which limit refuses (0: none), the wait (-1: no wait helps), whether a place at once is held, then used and
-- reset of each limit of requests and images, then what was looked up.
local function admit()
  local terms, id, images = ARGV[2], ARGV[3], tonumber(ARGV[4])
  local window, lease, of_requests, of_images, at_once, at = read('>I6I6I1I1I1', terms)
  local windows = of_requests + of_images
  local noted = windows + at_once + 1
  local values = call('MGET', unpack(KEYS))
  if #KEYS > noted then
    images = 0
    for index = noted + 1, #KEYS do
      if not values[index] then
        images = images + 1
      end
    end
  end
  local known = values[noted]
  local used, rest, needs = {}, {}, {} -- the rest: the slots of a window, or how many leases have lapsed
  local refusing, longest = 0, 0

  for index = 1, windows + at_once do
    local most, need, wait = nil, 0, 0
    most, at = read(USED, terms, at)
    if index <= windows then
      need = known and 0 or index > of_requests and images or 1
      used[index], rest[index] = window_of(values[index], now - window)
    elseif images > 0 and not known then
      need = 1
      used[index], rest[index] = places_of(KEYS[index])
    end
    needs[index] = need
    if need > most then
      wait = NEVER
    elseif need > 0 and used[index] + need > most then
      wait = index > windows and CROWDED or until_free(rest[index], used[index] + need - most, window)
    end
    if wait > longest then
      refusing, longest = index, wait
    end
  end

  local admitted, leased = refusing == 0, 0
  local answer = { refusing, longest == NEVER and -1 or longest, 0 }
  for index = 1, windows do
    local slots, need = rest[index], needs[index]
    if admitted and need > 0 then
      used[index] = used[index] + need
      take(KEYS[index], used[index], slots, need, window)
    end
    answer[2 * index + 2] = used[index]
    answer[2 * index + 3] = admitted and need > 0 and window or slots ~= '' and last_of(slots) + window - now or 0
  end
  for index = windows + 1, windows + at_once do
    if admitted and needs[index] > 0 then
      occupy(KEYS[index], rest[index], id, lease)
      leased = 1
    elseif known and call('ZSCORE', KEYS[index], id) then
      leased = 1
    end
  end
  if admitted and images > 0 and not known then
    call('SET', KEYS[noted], pack(SLOT, now, images), 'PX', window)
  end
  answer[3] = leased
  for index = noted + 1, #KEYS do
    answer[#answer + 1] = values[index]
  end
  return answer
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
  local noted = values[#KEYS]
  if not noted or #noted ~= SLOT_SIZE then
    return
  end
  local taken_at, left = read(SLOT, noted)
  local images = math.min(tonumber(ARGV[2]), left)
  for index = 1, #KEYS - 1 do
    local used, slots = window_of(values[index], 0)
    for at = 1, #slots, SLOT_SIZE do
      local lapses, amount = read(SLOT, slots, at)
      if lapses >= taken_at then
        local given = math.min(images, amount)
        local slot = given < amount and pack(SLOT, lapses, amount - given) or ''
        local window = sub(slots, 1, at - 1) .. slot .. sub(slots, at + SLOT_SIZE)
        call('SET', KEYS[index], pack(USED, used - given) .. window, 'KEEPTTL')
        break
      end
    end
  end
  call('SET', KEYS[#KEYS], pack(SLOT, taken_at, left - images), 'KEEPTTL')
end

return ({ admit = admit, renew = renew, release = release, give_back = give_back })[ARGV[1]]()
