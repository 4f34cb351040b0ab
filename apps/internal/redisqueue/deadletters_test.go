package redisqueue

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchtest"
)

func deadLetters(t *testing.T, q *Queue) []DeadLetter {
	t.Helper()
	var list []DeadLetter
	if err := q.DeadLetters(t.Context(), func(d DeadLetter) error { list = append(list, d); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

var ruin = dispatch.Result{Status: 502, Body: []byte(`{"error":{}}`)}

func buried(t *testing.T, q *Queue, r dispatch.Request, reason string) {
	t.Helper()
	submit(t, q, r)
	got := read(t, q, 1)
	if len(got) != 1 {
		t.Fatalf("read %d entries", len(got))
	}
	if first, err := q.Bury(t.Context(), got[0], reason, ruin); err != nil || !first {
		t.Fatalf("bury: first %v, %v", first, err)
	}
	if again, err := q.Bury(t.Context(), got[0], reason, ruin); err != nil || again {
		t.Errorf("buried twice: %v, %v", again, err)
	}
}

func TestADeadLetterIsKeptWithItsReasonAndComesBack(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		q := open(t, url, "a")
		want := request("one", dispatch.Async)
		want.Priority, want.ContentType, want.ResultID = dispatch.High, "image/png", "web:one"
		buried(t, q, want, "three attempts failed")
		if entries, pending := length(t, client); entries != 0 || pending != 0 {
			t.Errorf("%d entries, %d pending are left", entries, pending)
		}
		if o := observed(t, q); o.DeadLetters != 1 {
			t.Errorf("%d dead letters observed", o.DeadLetters)
		}
		if stored, err := q.Result(t.Context(), "web:one"); err != nil || stored.Status != 502 || string(stored.Body) != `{"error":{}}` {
			t.Errorf("its result is %+v, %v", stored, err)
		}
		list := deadLetters(t, q)
		if len(list) != 1 || list[0].Reason != "three attempts failed" || list[0].Deliveries != 1 || time.Since(list[0].At).Abs() > time.Minute {
			t.Fatalf("dead letters %+v", list)
		}
		if got := list[0].Request; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("kept %+v, want %+v", got, want)
		}

		deadline := time.Now().Add(time.Hour).Truncate(time.Millisecond)
		r, err := q.Redrive(t.Context(), list[0].ID, deadline)
		if err != nil || r.ResultID != "web:one" {
			t.Fatalf("redriven as %+v, %v", r, err)
		}
		if left := deadLetters(t, q); len(left) != 0 {
			t.Errorf("%+v is still dead", left)
		}
		if stored, err := q.Result(t.Context(), "web:one"); err != nil || !stored.Pending || len(stored.Body) != 0 || !stored.Deadline.Equal(deadline) {
			t.Errorf("its result is %+v, %v", stored, err)
		}
		got := read(t, q, 1)
		if len(got) != 1 || got[0].ID != "one" || got[0].Priority != dispatch.High || !got[0].Deadline.Equal(deadline) || string(got[0].Picture) != string(want.Picture) {
			t.Fatalf("read %+v", got)
		}
		finish(t, q, got[0].Place, "web:one", 200, "{}")
		if _, err := q.Redrive(t.Context(), list[0].ID, deadline); !errors.Is(err, ErrNoDeadLetter) {
			t.Errorf("redriven twice: %v", err)
		}
	})
}

func TestADeadLetterWhoseCallerHasSentItAgainStays(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		q := open(t, url, "a")
		r := request("one", dispatch.Async)
		buried(t, q, r, "a reason")
		letter := deadLetters(t, q)[0]
		again := submitAs(t, q, r, r.Fingerprint)
		for _, state := range []string{"open", "answered"} {
			if _, err := q.Redrive(t.Context(), letter.ID, time.Now().Add(time.Minute)); !errors.Is(err, ErrAnswered) {
				t.Errorf("its result is %s: %v", state, err)
			}
			if state == "open" {
				finish(t, q, again.Place, "one", 200, `{"answer":1}`)
			}
		}
		if stored, err := q.Result(t.Context(), "one"); err != nil || string(stored.Body) != `{"answer":1}` {
			t.Errorf("the result is %+v, %v", stored, err)
		}
		if got := len(deadLetters(t, q)); got != 1 {
			t.Errorf("%d dead letters", got)
		}
	})
}

func TestADeadLetterComesBackAfterItsResultIsGone(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		q := open(t, url, "a")
		r := request("one", dispatch.Async)
		buried(t, q, r, "a reason")
		client.Del(t.Context(), resultPrefix+"one")
		if _, err := q.Redrive(t.Context(), deadLetters(t, q)[0].ID, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if again := submitAs(t, q, r, r.Fingerprint); again != (Submission{}) {
			t.Errorf("the same request is %+v, want one that is known", again)
		}
	})
}

func TestADeadLetterMayBeForgotten(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		q := open(t, url, "a")
		for i := range 20 {
			buried(t, q, request(fmt.Sprint(i), dispatch.Async), "a reason")
		}
		list := deadLetters(t, q)
		if len(list) != 20 || list[0].Request.ID != "0" || list[19].Request.ID != "19" {
			t.Fatalf("%d dead letters, want twenty from 0 to 19", len(list))
		}
		if err := q.Forget(t.Context(), list[7].ID); err != nil {
			t.Fatal(err)
		}
		if err := q.Forget(t.Context(), list[7].ID); !errors.Is(err, ErrNoDeadLetter) {
			t.Errorf("forgotten twice: %v", err)
		}
		if got := len(deadLetters(t, q)); got != 19 {
			t.Errorf("%d are left", got)
		}
	})
}

func TestDeadLettersTakeNoMoreMemoryThanTheyMay(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	t.Cleanup(func() { _ = client.Close() })
	q := open(t, server.URL(), "a") // 1 MiB for dead letters
	for i := range 40 {
		r := request(fmt.Sprint(i), dispatch.Async)
		r.Picture = []byte(strings.Repeat("x", 100<<10))
		buried(t, q, r, "a reason")
	}
	list := deadLetters(t, q)
	if len(list) < 5 || list[len(list)-1].Request.ID != "39" {
		t.Errorf("%d are kept, want about ten, to the last", len(list))
	}
	if used := client.MemoryUsage(t.Context(), deadKey, 0).Val(); used > 1<<20 {
		t.Errorf("they take %d bytes", used)
	}
	huge := request("huge", dispatch.Async)
	huge.Picture = make([]byte, 3<<20)
	buried(t, q, huge, "a reason")
	if list := deadLetters(t, q); len(list) != 1 || list[0].Request.ID != "huge" {
		t.Errorf("%d are kept, want the last one whatever its size", len(list))
	}
}

func TestAFullRedisStillTakesADeadLetter(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	t.Cleanup(func() { _ = client.Close() })
	q := open(t, server.URL(), "a")
	submit(t, q, request("one", dispatch.Async))
	entries := read(t, q, 1)
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if first, err := q.Bury(t.Context(), entries[0], "a reason", ruin); err != nil || !first {
		t.Fatalf("%v, %v", first, err)
	}
	list := deadLetters(t, q)
	if len(list) != 1 {
		t.Fatalf("%d dead letters", len(list))
	}
	if _, err := q.Redrive(t.Context(), list[0].ID, time.Now().Add(time.Minute)); err == nil {
		t.Error("queued anew in a full Redis")
	}
	if got := len(deadLetters(t, q)); got != 1 {
		t.Errorf("%d dead letters are left of one that could not be queued anew", got)
	}
}
