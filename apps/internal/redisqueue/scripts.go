package redisqueue

import "github.com/redis/go-redis/v9"

// submitAsync queues an asynchronous request and opens its result, once: a
// second submission under the same id changes nothing.
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
//	3… the entry's fields and values
//
// Returns: the entry's stream id, or an empty string when the result exists.
//
// XADD comes first: it is the one that Redis refuses when its memory is full,
// and a script can't be refused once it has written.
var submitAsync = redis.NewScript(`
if redis.call('EXISTS', KEYS[2]) == 1 then return '' end
local fields = {}
for i = 3, #ARGV do fields[#fields + 1] = ARGV[i] end
local id = redis.call('XADD', KEYS[1], '*', unpack(fields))
redis.call('HSET', KEYS[2], 'status', '0', 'deadline', ARGV[2])
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
//	2 stream id of the entry
//	3 milliseconds to keep the result
//	4 status
//	5 body
//
// Returns: 1 when this call stored the result, 0 when the request had one or
// nobody can ask for it any more.
//
// XDEL comes first because Redis lets a script that has written go on when
// its memory is full: the entry makes room for its result. XACK comes last, so
// that an entry is not given up before its result is there.
var finishAsync = redis.NewScript(`
local first = 0
redis.call('XDEL', KEYS[1], ARGV[2])
if redis.call('HGET', KEYS[2], 'status') == '0' then
  redis.call('HSET', KEYS[2], 'status', ARGV[4], 'body', ARGV[5])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  first = 1
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return first
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
//	2 stream id of the entry
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

// handBack returns an entry that was read and not started to the queue's end,
// where any dispatcher reads it at once. A claim would keep its place, but
// nobody looks for claims that often.
//
// KEYS:
//
//	1 the queue (stream)
//
// ARGV:
//
//	1 consumer group
//	2 stream id of the entry
//
// Returns: 1 when the entry was handed back, 0 when it was gone.
//
// XADD comes first: where Redis refuses it for want of memory, the entry stays
// claimed and is reclaimed later.
var handBack = redis.NewScript(`
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
if #found == 0 then return 0 end
redis.call('XADD', KEYS[1], '*', unpack(found[1][2]))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
`)

// observe looks at the queue.
//
// KEYS:
//
//	1 the queue (stream)
//
// ARGV:
//
//	1 consumer group
//
// Returns: entries that no worker has taken; age of the oldest of them in
// milliseconds, 0 when there is none; Redis' own clock, Unix milliseconds. The
// error NOGROUP when the group does not exist.
//
// The picture of the oldest entry stays inside Redis: only its id is used.
var observe = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then return redis.error_reply('NOGROUP no such stream') end
local last, pending
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local info = {}
  for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
  if info['name'] == ARGV[1] then
    last = info['last-delivered-id']
    pending = tonumber(info['pending'])
  end
end
if not last then return redis.error_reply('NOGROUP no such group') end
local queued = math.max(0, redis.call('XLEN', KEYS[1]) - pending)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local age = 0
if queued > 0 then
  local oldest = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', '1')
  if #oldest > 0 then
    age = math.max(0, now - tonumber(string.match(oldest[1][1], '^%d+')))
  end
end
return {queued, age, now}
`)

// prune takes consumers without entries out of the group: the caller's own
// when it leaves, and those of dispatchers that went without leaving.
//
// KEYS:
//
//	1 the queue (stream)
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
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local info = {}
  for i = 1, #consumer, 2 do info[consumer[i]] = consumer[i + 1] end
  if tonumber(info['pending']) == 0 and (info['name'] == ARGV[2] or tonumber(info['idle']) > tonumber(ARGV[3])) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], info['name'])
    gone = gone + 1
  end
end
return gone
`)
