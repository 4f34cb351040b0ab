package redisqueue

import "github.com/redis/go-redis/v9"

// reclaim takes entries over from dispatchers that have been silent about them.
//
// KEYS:
//
//	1… the queue's streams, from the one that goes first
//
// ARGV:
//
//	1 consumer group
//	2 consumer
//	3 most entries
//	4 milliseconds of silence
//
// Returns: for each entry the number of its stream in KEYS, its id, the number
// of its deliveries, this one included, and its fields and values. The error
// NOGROUP when a group does not exist.
//
// Not XAUTOCLAIM, which does not tell how often an entry was delivered. An entry
// that is in the group and not in the stream any more was trimmed.
var reclaim = redis.NewScript(`
local taken = {}
for s, key in ipairs(KEYS) do
  local left = tonumber(ARGV[3]) - #taken
  if left <= 0 then break end
  for _, pending in ipairs(redis.call('XPENDING', key, ARGV[1], 'IDLE', ARGV[4], '-', '+', left)) do
    local id = pending[1]
    local claimed = redis.call('XCLAIM', key, ARGV[1], ARGV[2], ARGV[4], id)[1]
    if claimed then
      taken[#taken + 1] = {s, id, tonumber(pending[4]) + 1, claimed[2]}
    else
      redis.call('XACK', key, ARGV[1], id)
    end
  end
end
return taken
`)

// extend renews a dispatcher's claims, where they are still its own.
//
// KEYS:
//
//	1… the queue's streams
//
// ARGV:
//
//	1 consumer group
//	2 consumer
//	3 number of an entry's stream in KEYS
//	4 its id
//	… the same for more entries
//
// Returns: the numbers, from 1, of the entries that the consumer has no claim on.
//
// A claim that somebody else has by now is left to him: he answers for it.
var extend = redis.NewScript(`
local lost = {}
for i = 3, #ARGV, 2 do
  local key, id = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
  if #redis.call('XPENDING', key, ARGV[1], id, id, 1, ARGV[2]) == 0 then
    lost[#lost + 1] = (i - 1) / 2
  else
    redis.call('XCLAIM', key, ARGV[1], ARGV[2], 0, id, 'JUSTID')
  end
end
return lost
`)

// submitAsync queues an asynchronous request and opens its result, once: a
// second submission for the same result changes nothing, unless the first one
// has failed.
//
// KEYS:
//
//	1 the queue (stream)
//	2 the request's result (hash)
//
// ARGV:
//
//	1 milliseconds to keep the result, the time to the deadline included
//	2 deadline, Unix milliseconds
//	3 fingerprint of the request
//	4… the entry's fields and values
//
// Returns: the entry's id; or "known" when the result exists, or "conflict" when
// it is that of a request with another fingerprint.
//
// XADD comes first: it is the one that Redis refuses when its memory is full,
// and a script can't be refused once it has written.
var submitAsync = redis.NewScript(`
local known = redis.call('HMGET', KEYS[2], 'status', 'fingerprint')
if known[1] then
  if known[2] ~= ARGV[3] then return 'conflict' end
  if tonumber(known[1]) < 500 then return 'known' end
end
local fields = {}
for i = 4, #ARGV do fields[#fields + 1] = ARGV[i] end
local id = redis.call('XADD', KEYS[1], '*', unpack(fields))
redis.call('HSET', KEYS[2], 'status', '0', 'deadline', ARGV[2], 'fingerprint', ARGV[3], 'entry', id)
redis.call('HDEL', KEYS[2], 'body')
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return id
`)

// finishAsync stores an asynchronous request's result, unless it has one, and
// takes its entry out of the queue.
//
// KEYS:
//
//	1 the queue (stream)
//	2 the request's result (hash)
//
// ARGV:
//
//	1 consumer group
//	2 id of the entry
//	3 milliseconds to keep the result
//	4 status
//	5 body
//	6 channel to tell on
//	7 what to tell
//
// Returns: 1 when this call stored the result, 0 when the request had one, or is
// that of another entry by now: it failed and was submitted again.
//
// XDEL comes first because Redis lets a script that has written go on when
// its memory is full: the entry makes room for its result. XACK comes last, so
// that an entry is not given up before its result is there.
var finishAsync = redis.NewScript(`
local first = 0
redis.call('XDEL', KEYS[1], ARGV[2])
local open = redis.call('HMGET', KEYS[2], 'status', 'entry')
if open[1] == '0' and open[2] == ARGV[2] then
  redis.call('HSET', KEYS[2], 'status', ARGV[4], 'body', ARGV[5])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  redis.call('PUBLISH', ARGV[6], ARGV[7])
  first = 1
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return first
`)

// endResult stores an asynchronous request's result, unless it has one, and leaves
// its entry alone.
//
// KEYS:
//
//	1 the request's result (hash)
//
// ARGV:
//
//	1 milliseconds to keep the result
//	2 status
//	3 body
//	4 channel to tell on
//	5 what to tell
//
// Returns: 1 when this call stored the result, else 0.
var endResult = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'status') ~= '0' then return 0 end
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'body', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
`)

// finishRemote hands a synchronous request's result to the dispatcher that
// holds the caller's connection, and takes the entry out of the queue.
//
// KEYS:
//
//	1 the queue (stream)
//	2 that dispatcher's replies (list)
//
// ARGV:
//
//	1 consumer group
//	2 id of the entry
//	3 milliseconds to keep the list when nobody reads it
//	4 the reply
//
// Returns: 1 when the entry was still to be answered, else 0.
//
// The order is that of finishAsync, for the same reasons.
var finishRemote = redis.NewScript(`
if redis.call('XDEL', KEYS[1], ARGV[2]) == 0 then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
  return 0
end
redis.call('RPUSH', KEYS[2], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return 1
`)

// handBack returns an entry that was read and not answered to the queue's end,
// where any dispatcher reads it at once. A claim would keep its place, but
// nobody looks for claims that often.
//
// KEYS:
//
//	1 the queue (stream)
//	2 the request's result (hash)
//
// ARGV:
//
//	1 consumer group
//	2 id of the entry
//
// Returns: 1 when the entry was handed back, 0 when it was gone.
//
// XADD comes first: where Redis refuses it for want of memory, the entry stays
// claimed and is reclaimed later.
var handBack = redis.NewScript(`
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
if #found == 0 then return 0 end
local id = redis.call('XADD', KEYS[1], '*', unpack(found[1][2]))
if redis.call('HGET', KEYS[2], 'entry') == ARGV[2] then redis.call('HSET', KEYS[2], 'entry', id) end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
`)

// bury moves an asynchronous request's entry to the dead letters and stores its
// result, unless it has one.
//
// KEYS:
//
//	1 the queue (stream)
//	2 the dead letters (stream)
//	3 the request's result (hash)
//
// ARGV:
//
//	1 consumer group
//	2 id of the entry
//	3 reason
//	4 number of its deliveries
//	5 most dead letters
//	6 most bytes of memory for them
//	7 milliseconds to keep the result
//	8 status
//	9 body
//	10 channel to tell on
//	11 what to tell
//
// Returns: 1 when the entry was moved, 0 when it was gone.
//
// XDEL comes first and XACK last, as in finishAsync. The newest dead letter stays
// however large it is.
var bury = redis.NewScript(`
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
if #found > 0 then
  local fields = found[1][2]
  for _, extra in ipairs({'reason', ARGV[3], 'deliveries', ARGV[4]}) do fields[#fields + 1] = extra end
  redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[5], '*', unpack(fields))
  local left = redis.call('XLEN', KEYS[2])
  while left > 1 do
    local used = redis.pcall('MEMORY', 'USAGE', KEYS[2], 'SAMPLES', '0')
    if type(used) ~= 'number' or used <= tonumber(ARGV[6]) then break end
    left = math.max(1, math.min(left - 1, math.floor(left * tonumber(ARGV[6]) / used)))
    redis.call('XTRIM', KEYS[2], 'MAXLEN', left)
  end
  local open = redis.call('HMGET', KEYS[3], 'status', 'entry')
  if open[1] == '0' and open[2] == ARGV[2] then
    redis.call('HSET', KEYS[3], 'status', ARGV[8], 'body', ARGV[9])
    redis.call('PEXPIRE', KEYS[3], ARGV[7])
    redis.call('PUBLISH', ARGV[10], ARGV[11])
  end
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return #found
`)

// redrive queues a dead letter anew.
//
// KEYS:
//
//	1 the dead letters (stream)
//	2 the queue (stream)
//	3 the request's result (hash)
//
// ARGV:
//
//	1 id of the dead letter
//	2 milliseconds to keep the result, the time to the deadline included
//	3 deadline, Unix milliseconds
//	4 fingerprint of the request
//	5… the entry's fields and values
//
// Returns: the entry's id; or "gone" when the dead letter is, or "answered" when
// the result is open or is an answer: the request was submitted again.
//
// XADD comes before XDEL: where Redis refuses it for want of memory, the dead
// letter stays.
var redrive = redis.NewScript(`
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 'gone' end
local status = redis.call('HGET', KEYS[3], 'status')
if status and tonumber(status) < 500 then return 'answered' end
local fields = {}
for i = 5, #ARGV do fields[#fields + 1] = ARGV[i] end
local id = redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[3], 'status', '0', 'deadline', ARGV[3], 'fingerprint', ARGV[4], 'entry', id)
redis.call('HDEL', KEYS[3], 'body')
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return id
`)

// observe looks at the queue, and tells the other dispatchers that the caller is
// there.
//
// KEYS:
//
//	1 the dispatchers (sorted set, by when they were last heard of)
//	2 the dead letters (stream)
//	3… the queue's streams, from the one that goes first
//
// ARGV:
//
//	1 consumer group
//	2 the caller's name
//	3 milliseconds for which a silent dispatcher counts as there
//
// Returns: dispatchers that are there, the caller included; dead letters; Redis'
// own clock, Unix milliseconds; age of the oldest entry that no worker has taken
// in milliseconds, 0 when there is none; and for each stream the number of those.
// The error NOGROUP when a group does not exist.
//
// The picture of the oldest entry stays inside Redis: only its id is used. A
// consumer of the group is no sign of a dispatcher: Redis 7.0 has none until it
// gets its first entry. Where memory is full the dispatchers stay those of before.
var observe = redis.NewScript(`
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.pcall('ZADD', KEYS[1], now, ARGV[2])
redis.pcall('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]))
local result, age = {math.max(1, redis.call('ZCARD', KEYS[1])), redis.call('XLEN', KEYS[2]), now, 0}, 0
for s = 3, #KEYS do
  local key, group = KEYS[s], nil
  if redis.call('EXISTS', key) == 0 then return redis.error_reply('NOGROUP no such stream') end
  for _, found in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local info = {}
    for i = 1, #found, 2 do info[found[i]] = found[i + 1] end
    if info['name'] == ARGV[1] then group = info end
  end
  if not group then return redis.error_reply('NOGROUP no such group') end
  local queued = math.max(0, redis.call('XLEN', key) - tonumber(group['pending']))
  if queued > 0 then
    local oldest = redis.call('XRANGE', key, '(' .. group['last-delivered-id'], '+', 'COUNT', '1')
    if #oldest > 0 then
      age = math.max(age, now - tonumber(string.match(oldest[1][1], '^%d+')))
    end
  end
  result[#result + 1] = queued
end
result[4] = age
return result
`)

// prune takes consumers without entries out of the groups: the caller's own
// when it leaves, and those of dispatchers that went without leaving.
//
// KEYS:
//
//	1 the dispatchers (sorted set)
//	2… the queue's streams
//
// ARGV:
//
//	1 consumer group
//	2 consumer that leaves, or an empty string
//	3 milliseconds after which a silent consumer counts as gone
//
// Returns: the number of consumers taken out.
//
// One script, because a consumer's entries are lost with it: none may arrive
// between the look and the removal.
var prune = redis.NewScript(`
local gone = 0
redis.call('ZREM', KEYS[1], ARGV[2])
for k = 2, #KEYS do
  local key = KEYS[k]
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', key, ARGV[1])) do
    local info = {}
    for i = 1, #consumer, 2 do info[consumer[i]] = consumer[i + 1] end
    if tonumber(info['pending']) == 0 and (info['name'] == ARGV[2] or tonumber(info['idle']) > tonumber(ARGV[3])) then
      redis.call('XGROUP', 'DELCONSUMER', key, ARGV[1], info['name'])
      gone = gone + 1
    end
  end
end
return gone
`)
