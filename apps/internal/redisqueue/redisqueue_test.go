package redisqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchtest"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T, url, name string) *Queue {
	t.Helper()
	q, err := New(Config{
		Connection: Connection{URL: url, Password: dispatchtest.RedisPassword}, Name: name,
		ResultTTL: time.Minute, Connections: 8, DeadLetterBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	if err := q.Connect(t.Context(), 10*time.Second, quiet); err != nil {
		t.Fatal(err)
	}
	return q
}

// each runs a test against a real Redis and against the one of devredis.
func each(t *testing.T, test func(t *testing.T, url string, client *redis.Client)) {
	t.Run("redis-server", func(t *testing.T) {
		server := dispatchtest.StartRedis(t)
		client := server.Client()
		t.Cleanup(func() { _ = client.Close() })
		test(t, server.URL(), client)
	})
	t.Run("miniredis", func(t *testing.T) {
		server := miniredis.RunT(t)
		server.RequireAuth(dispatchtest.RedisPassword)
		client := redis.NewClient(&redis.Options{Addr: server.Addr(), Password: dispatchtest.RedisPassword})
		t.Cleanup(func() { _ = client.Close() })
		test(t, "redis://"+server.Addr(), client)
	})
}

func request(id string, mode dispatch.Mode) dispatch.Request {
	r := dispatch.Request{
		ID: id, Deadline: time.UnixMilli(time.Now().Add(time.Minute).UnixMilli()), Priority: dispatch.Normal, Mode: mode,
		Picture: []byte("\xff\xd8 picture\x00\r\n"),
	}
	if mode == dispatch.Sync {
		r.Waiter, r.Ticket = "a", "t-"+id
	} else {
		r.ResultID, r.Fingerprint = id, "print"
	}
	return r
}

func submit(t *testing.T, q *Queue, r dispatch.Request) Place {
	t.Helper()
	if r.Mode == dispatch.Async {
		return submitAs(t, q, r, r.Fingerprint).Place
	}
	place, err := q.Submit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

func submitAs(t *testing.T, q *Queue, r dispatch.Request, fingerprint string) Submission {
	t.Helper()
	r.Fingerprint = fingerprint
	submission, err := q.SubmitAsync(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return submission
}

func read(t *testing.T, q *Queue, n int) []Entry {
	t.Helper()
	entries, err := q.Read(t.Context(), n, new([3]int), 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func observed(t *testing.T, q *Queue) Observation {
	t.Helper()
	o, err := q.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func length(t *testing.T, client *redis.Client) (entries, pending int64) {
	t.Helper()
	for _, key := range queueKeys {
		n, err := client.XLen(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		summary, err := client.XPending(t.Context(), key, group).Result()
		if err != nil {
			t.Fatal(err)
		}
		entries, pending = entries+n, pending+summary.Count
	}
	return entries, pending
}

func TestAnEntryIsReadAsItWasSubmittedByOneDispatcher(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		a, b := open(t, url, "a"), open(t, url, "b")
		want := request("one", dispatch.Sync)
		place := submit(t, a, want)
		got := read(t, b, 5)
		if len(got) != 1 || got[0].Place != place {
			t.Fatalf("read %+v, want one entry at %v", got, place)
		}
		r := got[0].Request
		if r.ID != want.ID || !r.Deadline.Equal(want.Deadline) || r.Mode != want.Mode || r.Waiter != "a" || r.Ticket != "t-one" || string(r.Picture) != string(want.Picture) {
			t.Errorf("read %+v, want %+v", r, want)
		}
		if again := read(t, a, 5); len(again) != 0 {
			t.Errorf("a second dispatcher read it too: %+v", again)
		}
	})
}

func TestATraceGoesAlongWithItsEntry(t *testing.T) {
	const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	each(t, func(t *testing.T, url string, client *redis.Client) {
		q := open(t, url, "a")
		for _, mode := range []dispatch.Mode{dispatch.Sync, dispatch.Async} {
			r := request("traced-"+string(mode), mode)
			r.TraceParent = traceparent
			submit(t, q, r)
			got := read(t, q, 5)
			if len(got) != 1 || got[0].TraceParent != traceparent {
				t.Fatalf("%s: read %+v, want %s", mode, got, traceparent)
			}
			if err := q.HandBack(t.Context(), got[0]); err != nil {
				t.Fatal(err)
			}
			if got := read(t, q, 5); len(got) != 1 || got[0].TraceParent != traceparent {
				t.Errorf("%s: handed back and read %+v, want %s", mode, got, traceparent)
			}
		}
		// As a dispatcher that knows of no traces queues it.
		place := submit(t, q, request("untraced", dispatch.Sync))
		entry, err := client.XRange(t.Context(), queueKey(place.Priority), place.ID, place.ID).Result()
		if err != nil || len(entry) != 1 || len(entry[0].Values) != 7 {
			t.Errorf("queued %+v, %v; want seven fields", entry, err)
		}
		if got := read(t, q, 5); len(got) != 1 || got[0].TraceParent != "" {
			t.Errorf("read %+v, want no trace", got)
		}
	})
}

func TestAnEntryTellsWhenItWasQueued(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		q := open(t, url, "a")
		from := time.Now().Truncate(time.Millisecond)
		submit(t, q, request("one", dispatch.Sync))
		to := time.Now()
		if got := read(t, q, 1); len(got) != 1 || got[0].QueuedAt.Before(from) || got[0].QueuedAt.After(to) {
			t.Errorf("read %+v, want one queued between %v and %v", got, from, to)
		}
	})
	for place, want := range map[string]time.Time{
		"1700000000123-4":        time.UnixMilli(1700000000123),
		"1700000000123":          time.UnixMilli(1700000000123),
		"0-1":                    {},
		"-1":                     {},
		"18446744073709551615-0": {},
		"soon":                   {},
		"":                       {},
	} {
		if got := queuedAt(place); !got.Equal(want) {
			t.Errorf("place %q tells %v, want %v", place, got, want)
		}
	}
}

// What is in Redis may come from anybody who can write there.
func FuzzDecodeRequest(f *testing.F) {
	f.Add("1700000000123-0", "one", "1700000000500", "sync", "a", "t", "", "picture", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("1-1", "two", "1", "async", "", "", "r", "\xff\xd8", "")
	f.Add("-", "", "-9223372036854775808", "", "", "", "", "", "00-")
	f.Fuzz(func(t *testing.T, place, id, deadline, mode, waiter, ticket, result, picture, traceparent string) {
		values := map[string]string{
			"id": id, "deadline": deadline, "mode": mode, "waiter": waiter, "ticket": ticket, "result": result, "picture": picture, "traceparent": traceparent,
		}
		r, err := decodeRequest(func(field string) string { return values[field] })
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has more than a line: %q", err)
			}
			return
		}
		if r.ID != id || string(r.Picture) != picture || r.TraceParent != traceparent || id == "" || picture == "" {
			t.Errorf("decoded %+v", r)
		}
		if r.Mode == dispatch.Sync && (r.Waiter == "" || r.Ticket == "") || r.Mode == dispatch.Async && r.ResultID == "" {
			t.Errorf("nobody waits for %+v", r)
		}
		if at := queuedAt(place); !at.IsZero() && at.UnixMilli() < 1 {
			t.Errorf("queued at %d ms", at.UnixMilli())
		}
	})
}

func TestReadTakesNoMoreThanAsked(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		q := open(t, url, "a")
		for i := range 5 {
			submit(t, q, request(fmt.Sprint(i), dispatch.Sync))
		}
		if got := read(t, q, 3); len(got) != 3 || got[0].ID != "0" || got[2].ID != "2" {
			t.Errorf("read %d entries, want the first 3 in order", len(got))
		}
	})
}

func TestObserveCountsWhatNobodyHasTaken(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		q := open(t, url, "a")
		if o := observed(t, q); o.Total() != 0 || o.OldestAge != 0 {
			t.Errorf("an empty queue: %+v", o)
		}
		for i := range 3 {
			submit(t, q, request(fmt.Sprint(i), dispatch.Sync))
		}
		taken := read(t, q, 1)
		// The oldest of the rest is as old as its id says.
		dispatchtest.Eventually(t, 5*time.Second, "the oldest entry is 20 ms old", func() bool {
			return observed(t, q).OldestAge >= 20*time.Millisecond
		})
		o := observed(t, q)
		if o.Total() != 2 {
			t.Errorf("queued %d, want 2: three less the one that was taken", o.Total())
		}
		if o.OldestAge > 10*time.Second {
			t.Errorf("oldest is %v old in a queue that is a moment old", o.OldestAge)
		}
		if d := time.Since(o.RedisTime).Abs(); d > 5*time.Second {
			t.Errorf("Redis' clock is %v away", d)
		}
		if err := q.Remove(t.Context(), taken[0].Place); err != nil {
			t.Fatal(err)
		}
		rest := read(t, q, 5)
		for _, e := range rest {
			if err := q.Remove(t.Context(), e.Place); err != nil {
				t.Fatal(err)
			}
		}
		if o := observed(t, q); o.Total() != 0 || o.OldestAge != 0 {
			t.Errorf("an emptied queue: %+v", o)
		}
		if entries, pending := length(t, client); entries != 0 || pending != 0 {
			t.Errorf("%d entries, %d pending are left", entries, pending)
		}
	})
}

func TestRemoveTakesOutWhatNobodyHasRead(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		q := open(t, url, "a")
		place := submit(t, q, request("one", dispatch.Sync))
		if err := q.Remove(t.Context(), place); err != nil {
			t.Fatal(err)
		}
		if got := read(t, q, 1); len(got) != 0 {
			t.Errorf("read %+v", got)
		}
	})
}

func TestAsyncResultIsStoredOnce(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		q := open(t, url, "a")
		if _, err := q.Result(t.Context(), "one"); !errors.Is(err, ErrNoResult) {
			t.Fatalf("unknown id: %v", err)
		}
		r := request("one", dispatch.Async)
		place := submit(t, q, r)
		if again := submitAs(t, q, r, "print"); again != (Submission{}) {
			t.Errorf("submitted again: %+v", again)
		}
		if o := observed(t, q); o.Total() != 1 {
			t.Errorf("queued %d, want 1", o.Total())
		}
		stored, err := q.Result(t.Context(), "one")
		if err != nil || !stored.Pending || !stored.Deadline.Equal(r.Deadline) {
			t.Fatalf("before: %+v, %v", stored, err)
		}
		read(t, q, 1)
		first, err := q.FinishAsync(t.Context(), place, "one", dispatch.Result{Status: 200, Body: []byte(`{"a":1}`)})
		if err != nil || !first {
			t.Fatalf("first finish: %v, %v", first, err)
		}
		second, err := q.FinishAsync(t.Context(), place, "one", dispatch.Result{Status: 504, Body: []byte(`{"b":2}`)})
		if err != nil || second {
			t.Fatalf("second finish: %v, %v", second, err)
		}
		stored, err = q.Result(t.Context(), "one")
		if err != nil || stored.Pending || stored.Status != 200 || string(stored.Body) != `{"a":1}` {
			t.Errorf("after: %+v, %v", stored, err)
		}
		if entries, pending := length(t, client); entries != 0 || pending != 0 {
			t.Errorf("%d entries, %d pending are left", entries, pending)
		}
		if ttl := client.PTTL(t.Context(), resultPrefix+"one").Val(); ttl <= 0 || ttl > time.Minute {
			t.Errorf("the result is kept for %v, want up to a minute", ttl)
		}
	})
}

func TestARemoteCallerGetsItsReplyOnce(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		a, b := open(t, url, "a"), open(t, url, "b")
		submit(t, a, request("one", dispatch.Sync))
		submit(t, a, request("two", dispatch.Sync))
		for _, e := range read(t, b, 2) {
			for range 2 {
				if err := b.FinishRemote(t.Context(), e, dispatch.Result{Status: 200, Body: []byte(`{"for":"` + e.ID + `"}`)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		var got []string
		dispatchtest.Eventually(t, 5*time.Second, "two replies", func() bool {
			replies, err := a.Replies(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range replies {
				got = append(got, fmt.Sprintf("%s %d %s", r.Ticket, r.Status, r.Body))
			}
			return len(got) >= 2
		})
		if want := `t-one 200 {"for":"one"}, t-two 200 {"for":"two"}`; strings.Join(got, ", ") != want {
			t.Errorf("replies %v, want %s", got, want)
		}
		if entries, pending := length(t, client); entries != 0 || pending != 0 {
			t.Errorf("%d entries, %d pending are left", entries, pending)
		}
	})
}

func TestOnlyASilentDispatchersEntriesAreReclaimed(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		const idle = 300 * time.Millisecond
		a, b := open(t, url, "a"), open(t, url, "b")
		kept := submit(t, a, request("kept", dispatch.Async))
		left := submit(t, a, request("left", dispatch.Async))
		if got := read(t, a, 2); len(got) != 2 {
			t.Fatalf("read %d entries", len(got))
		}
		var got []Entry
		dispatchtest.Eventually(t, 10*time.Second, "the entry that is not extended is reclaimed", func() bool {
			if _, err := a.Extend(t.Context(), []Place{kept}); err != nil {
				t.Fatal(err)
			}
			entries, err := b.Reclaim(t.Context(), 10, idle)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, entries...)
			return len(got) > 0
		})
		if len(got) != 1 || got[0].Place != left || got[0].ID != "left" {
			t.Errorf("reclaimed %+v, want only %s", got, left)
		}
	})
}

func TestAnEntryHandedBackIsReadByAnother(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		a, b := open(t, url, "a"), open(t, url, "b")
		submit(t, a, request("one", dispatch.Async))
		e := read(t, a, 1)[0]
		if err := a.HandBack(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		got := read(t, b, 1)
		if len(got) != 1 || got[0].ID != "one" || string(got[0].Picture) != string(e.Picture) {
			t.Fatalf("read %+v", got)
		}
		if err := a.HandBack(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if entries, pending := length(t, client); entries != 1 || pending != 1 {
			t.Errorf("%d entries, %d pending; want the one that was handed back", entries, pending)
		}
		finish(t, b, got[0].Place, "one", 200, "{}")
	})
}

func TestTrimRemovesOnlyWhatIsOld(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		q := open(t, url, "a")
		submit(t, q, request("old", dispatch.Sync))
		var between time.Time
		dispatchtest.Eventually(t, 5*time.Second, "two milliseconds pass", func() bool {
			o := observed(t, q)
			between = o.RedisTime
			return o.OldestAge >= 2*time.Millisecond
		})
		submit(t, q, request("young", dispatch.Sync))
		removed, err := q.Trim(t.Context(), between)
		if err != nil || removed != 1 {
			t.Fatalf("removed %d, %v; want 1", removed, err)
		}
		if got := read(t, q, 5); len(got) != 1 || got[0].ID != "young" {
			t.Errorf("left: %+v", got)
		}
	})
}

func TestLeaveForgetsOnlyDispatchersWithoutEntries(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		a, b := open(t, url, "a"), open(t, url, "b")
		submit(t, a, request("one", dispatch.Sync))
		if got := read(t, b, 1); len(got) != 1 {
			t.Fatal("nothing read")
		}
		read(t, a, 1)
		for _, q := range []*Queue{a, b} {
			if err := q.Leave(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		consumers, err := client.XInfoConsumers(t.Context(), queueKey(dispatch.Normal), group).Result()
		if err != nil {
			t.Fatal(err)
		}
		if len(consumers) != 1 || consumers[0].Name != "b" || consumers[0].Pending != 1 {
			t.Errorf("consumers %+v, want b with its entry", consumers)
		}
	})
}

func TestAnEmptiedRedisIsSetUpAgain(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		q := open(t, url, "a")
		for name, use := range map[string]func() error{
			"observe": func() error { _, err := q.Observe(t.Context()); return err },
			"read":    func() error { _, err := q.Read(t.Context(), 1, new([3]int), 10*time.Millisecond); return err },
			"reclaim": func() error { _, err := q.Reclaim(t.Context(), 1, time.Second); return err },
		} {
			if err := client.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			if err := use(); err != nil {
				t.Errorf("%s on an emptied Redis: %v", name, err)
			}
		}
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		submit(t, q, request("one", dispatch.Sync))
		if got := read(t, q, 1); len(got) != 1 {
			t.Error("what was queued before the group was there is lost")
		}
	})
}

func TestEntriesThatNoDispatcherWroteAreRemoved(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		q := open(t, url, "a")
		for _, values := range []map[string]any{
			{"hello": "world"},
			{"id": "x", "deadline": "soon", "mode": "async", "picture": "p"},
			{"id": "x", "deadline": "1", "mode": "sometimes", "picture": "p"},
			{"id": "x", "deadline": "1", "mode": "sync", "picture": "p"},
			{"id": "x", "deadline": "1", "mode": "async", "picture": "p"},
			{"id": "x", "deadline": "1", "mode": "async", "result": "x", "picture": ""},
			{"id": "", "deadline": "1", "mode": "async", "result": "x", "picture": "p"},
		} {
			if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: queueKey(dispatch.Normal), Values: values}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(t, q, 10); len(got) != 0 {
			t.Errorf("read %+v", got)
		}
		if entries, pending := length(t, client); entries != 0 || pending != 0 {
			t.Errorf("%d entries, %d pending are left", entries, pending)
		}
	})
}

func TestAFullRedisRefusesRequestsAndStillTakesResults(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	t.Cleanup(func() { _ = client.Close() })
	a, b := open(t, server.URL(), "a"), open(t, server.URL(), "b")
	async := submit(t, a, request("async", dispatch.Async))
	submit(t, a, request("sync", dispatch.Sync))
	entries := read(t, b, 2)
	if len(entries) != 2 {
		t.Fatalf("read %d entries", len(entries))
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}

	if _, err := a.Submit(t.Context(), request("more", dispatch.Sync)); !errors.Is(err, ErrFull) {
		t.Errorf("submit to a full Redis: %v", err)
	}
	if _, err := a.SubmitAsync(t.Context(), request("more", dispatch.Async)); err == nil {
		t.Error("submitted asynchronously to a full Redis")
	}
	if _, err := a.Result(t.Context(), "more"); !errors.Is(err, ErrNoResult) {
		t.Errorf("a refused request left something behind: %v", err)
	}
	if first, err := b.FinishAsync(t.Context(), async, "async", dispatch.Result{Status: 200, Body: []byte(`{}`)}); err != nil || !first {
		t.Errorf("result for a full Redis: %v, %v", first, err)
	}
	if err := b.FinishRemote(t.Context(), entries[1], dispatch.Result{Status: 200, Body: []byte(`{}`)}); err != nil {
		t.Errorf("reply through a full Redis: %v", err)
	}
	if replies, err := a.Replies(t.Context()); err != nil || len(replies) != 1 {
		t.Errorf("replies %v, %v", replies, err)
	}
}

func TestAFrozenRedisHoldsNobodyPastHisTime(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	q := open(t, server.URL(), "a")
	server.Freeze()
	defer server.Thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := q.Submit(ctx, request("one", dispatch.Sync)); err == nil {
		t.Error("submitted to a frozen Redis")
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("took %v with a context of 100 ms", took)
	}
}

func TestConnectSaysWhyNot(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	connect := func(url, password string, wait time.Duration) (string, time.Duration) {
		q, err := New(Config{Connection: Connection{URL: url, Password: password}, Name: "a", ResultTTL: time.Minute, Connections: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = q.Close() }()
		begin := time.Now()
		err = q.Connect(t.Context(), wait, quiet)
		if err == nil {
			t.Fatal("connected")
		}
		return err.Error(), time.Since(begin)
	}

	message, took := connect(server.URL(), "wrong-password", time.Minute)
	if !strings.Contains(message, server.Address()+" refuses this user and password") || strings.Contains(message, "wrong-password") {
		t.Errorf("wrong password: %s", message)
	}
	if took > 10*time.Second {
		t.Errorf("a refused password was tried for %v", took)
	}
	if message, _ := connect(server.URL(), "", time.Minute); !strings.Contains(message, "refuses") {
		t.Errorf("no password: %s", message)
	}
	nobody := dispatchtest.FreeAddress(t)
	message, took = connect("redis://:secret-in-url@"+nobody+"/0", "", 300*time.Millisecond)
	if !strings.Contains(message, "redis at "+nobody+" can't be reached within 300ms") || strings.Contains(message, "secret-in-url") {
		t.Errorf("nobody there: %s", message)
	}
	if took > 5*time.Second {
		t.Errorf("waited %v, want 300ms", took)
	}
}

func TestABadURLIsNotQuoted(t *testing.T) {
	for _, url := range []string{"", "http://h:1", "redis://:secret@host:port/0", "redis://:secret@h:1/zero", "://secret"} {
		_, err := New(Config{Connection: Connection{URL: url}, Connections: 1})
		if err == nil {
			t.Errorf("%q was taken", url)
		} else if strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "allowed: redis://") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestResultsKeepTheirStatus(t *testing.T) {
	q := open(t, dispatchtest.StartRedis(t).URL(), "a")
	place := submit(t, q, request("bad", dispatch.Async))
	if _, err := q.FinishAsync(t.Context(), place, "bad", dispatch.Result{Status: http.StatusBadRequest, Body: []byte(`{"error":{}}`)}); err != nil {
		t.Fatal(err)
	}
	if stored, err := q.Result(t.Context(), "bad"); err != nil || stored.Status != http.StatusBadRequest {
		t.Errorf("%+v, %v", stored, err)
	}
}
