#!lua
-- Limits of one team, in one step. With the line above, a server that may not write refuses before anything is done.
--
-- Requests and images are logs: sorted sets of `id` or `id:number` by the time they were let in. Requests at once are
-- leases: sorted sets of `id` by the time they end. Times are milliseconds of the server's own clock. Nothing that a
-- script has written is undone when it fails, so everything is read first and written last.

local NEVER = math.huge
local CROWDED = 1000 -- a place among requests at once: nobody knows when one is free
local MOST_SWEPT = 100

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- How many entries of a set count, and how many have lapsed. What somebody else wrote under our key is no set: it goes.
local function count(key, lapsed_at)
  local all = redis.pcall('ZCARD', key)
  if type(all) == 'table' then
    redis.call('UNLINK', key)
    return 0, 0
  end
  if all == 0 then
    return 0, 0
  end
  local lapsed = redis.call('ZCOUNT', key, '-inf', lapsed_at)
  return all - lapsed, lapsed
end

local function score(key, rank)
  return tonumber(redis.call('ZRANGE', key, rank, rank, 'WITHSCORES')[2])
end

-- Whether a request was let in before, and the answer was lost: all its entries were written together.
local function is_known(limits, id)
  local last
  for _, limit in ipairs(limits) do
    if limit.measure ~= last then
      local member = limit.measure == 'images' and id .. ':0' or id
      local at = limit.used > 0 and redis.call('ZSCORE', limit.key, member)
      if at and tonumber(at) > limit.lapsed_at then
        return true
      end
      if limit.measure == 'requests' then
        return false
      end
      last = limit.measure
    end
  end
  return false
end

-- Milliseconds until a limit has room for what a request needs of it; 0 if it has now.
local function wait_for(limit, window)
  local over = limit.used + limit.need - limit.most
  if limit.need == 0 or over <= 0 then
    return 0
  end
  if limit.need > limit.most then
    return NEVER
  end
  if limit.measure == 'concurrency' then
    return CROWDED
  end
  return math.max(1, score(limit.key, limit.lapsed + over - 1) + window - now)
end

local function take(limit, id, window, lease)
  if limit.lapsed > 0 then
    redis.call('ZREMRANGEBYRANK', limit.key, 0, math.min(limit.lapsed, MOST_SWEPT) - 1)
  end
  if limit.measure == 'requests' then
    redis.call('ZADD', limit.key, now, id)
  elseif limit.measure == 'images' then
    local entries = {}
    for number = 0, limit.need - 1 do
      entries[#entries + 1] = now
      entries[#entries + 1] = id .. ':' .. number
    end
    redis.call('ZADD', limit.key, unpack(entries))
  else
    redis.call('ZADD', limit.key, now + lease, id)
  end
  redis.call('PEXPIRE', limit.key, limit.measure == 'concurrency' and lease or window)
end

-- Milliseconds until all of a log is free again.
local function reset_of(limit, window, admitted)
  if limit.measure == 'concurrency' then
    return 0
  end
  if admitted and limit.need > 0 then
    return window
  end
  return limit.used > 0 and math.max(0, score(limit.key, -1) + window - now) or 0
end

-- ARGV: id, window, lease, images, then measure and most of each limit. KEYS: one of each limit, then the pictures to
-- look up; where there are any, the images are those that are not there.
-- Returns: which limit refuses (0: none), the wait (-1: no wait helps), whether a place at once is held, then used and
-- reset of each limit, then what was looked up.
local function admit()
  local id, window, lease, images = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
  local most_limits = (#ARGV - 5) / 2
  local found = {}
  if #KEYS > most_limits then
    found = redis.call('MGET', unpack(KEYS, most_limits + 1))
    images = 0
    for index = 1, #found do
      if not found[index] then
        images = images + 1
      end
    end
  end

  local limits = {}
  for index = 1, most_limits do
    local limit = { key = KEYS[index], measure = ARGV[4 + 2 * index], most = tonumber(ARGV[5 + 2 * index]) }
    limit.lapsed_at = limit.measure == 'concurrency' and now or now - window
    if limit.measure == 'concurrency' and images == 0 then
      limit.used, limit.lapsed = 0, 0 -- nothing is asked of it, and nobody is told of it
    else
      limit.used, limit.lapsed = count(limit.key, limit.lapsed_at)
    end
    limits[index] = limit
  end
  local known = is_known(limits, id)
  local needs = { requests = 1, images = images, concurrency = math.min(images, 1) }
  local refusing, longest = 0, 0
  for index, limit in ipairs(limits) do
    limit.need = known and 0 or needs[limit.measure]
    local wait = wait_for(limit, window)
    if wait > longest then
      refusing, longest = index, wait
    end
  end

  local admitted, leased = refusing == 0, 0
  local answer = { refusing, longest == NEVER and -1 or longest, 0 }
  for _, limit in ipairs(limits) do
    if admitted and limit.need > 0 then
      take(limit, id, window, lease)
      limit.used = limit.used + limit.need
    end
    if admitted and limit.measure == 'concurrency' then
      leased = (limit.need > 0 or known and redis.call('ZSCORE', limit.key, id)) and 1 or 0
    end
    answer[#answer + 1] = limit.used
    answer[#answer + 1] = reset_of(limit, window, admitted)
  end
  answer[3] = leased
  for index = 1, #found do
    answer[#answer + 1] = found[index]
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
    redis.call('ZADD', key, unpack(entries))
    redis.call('PEXPIRE', key, lease)
  end
end

-- ARGV: ids.
local function release()
  for _, key in ipairs(KEYS) do
    redis.call('ZREM', key, unpack(ARGV, 2))
  end
end

-- ARGV: id, images, and how many the request can have had at most.
local function give_back()
  for _, key in ipairs(KEYS) do
    local left = tonumber(ARGV[3])
    for number = ARGV[4] - 1, 0, -1 do
      if left == 0 then
        break
      end
      left = left - redis.call('ZREM', key, ARGV[2] .. ':' .. number)
    end
  end
end

return ({ admit = admit, renew = renew, release = release, give_back = give_back })[ARGV[1]]()
