package redisqueue

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"headroom.dev/apps/internal/dispatch"
)

func finish(t *testing.T, q *Queue, place Place, id string, status int, body string) {
	t.Helper()
	first, err := q.FinishAsync(t.Context(), place, id, dispatch.Result{Status: status, Body: []byte(body)})
	if err != nil || !first {
		t.Fatalf("result of %s: first %v, %v", id, first, err)
	}
}

func TestAResultOfAnotherRequestIsAConflict(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		q := open(t, url, "a")
		r := request("one", dispatch.Async)
		submitAs(t, q, r, "one picture")
		if got := submitAs(t, q, r, "another picture"); got != (Submission{Conflict: true}) {
			t.Errorf("another picture: %+v", got)
		}
		if entries, _ := length(t, client); entries != 1 {
			t.Errorf("%d entries, want 1", entries)
		}
	})
}

func TestOnlyWhatHasFailedIsTriedAnew(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		q := open(t, url, "a")
		for id, test := range map[string]struct {
			status int
			again  bool
		}{"answered": {200, false}, "bad": {400, false}, "failed": {502, true}, "late": {504, true}} {
			r := request(id, dispatch.Async)
			finish(t, q, submit(t, q, r), id, test.status, `{"old":true}`)
			again := submitAs(t, q, r, "print")
			if again.Queued != test.again || again.Conflict {
				t.Errorf("%s: %+v", id, again)
			}
			stored, err := q.Result(t.Context(), id)
			if err != nil || stored.Pending != test.again || (string(stored.Body) == "") != test.again {
				t.Errorf("%s: %+v, %v", id, stored, err)
			}
			if again.Queued {
				// Whoever still works on the old one has nothing to say any more.
				first, err := q.FinishAsync(t.Context(), Place{dispatch.Normal, "1-1"}, id, dispatch.Result{Status: 504, Body: []byte("{}")})
				if err != nil || first {
					t.Errorf("%s: the old entry's result was stored: %v, %v", id, first, err)
				}
				finish(t, q, again.Place, id, 200, `{"new":true}`)
				if stored, err := q.Result(t.Context(), id); err != nil || string(stored.Body) != `{"new":true}` {
					t.Errorf("%s: %+v, %v", id, stored, err)
				}
			}
		}
	})
}

func TestWhoWaitsForAResultIsTold(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		a, b := open(t, url, "a"), open(t, url, "b")
		place := submit(t, a, request("one", dispatch.Async))
		hears := func(who string, done <-chan struct{}) {
			t.Helper()
			select {
			case <-done:
			case <-time.After(5 * time.Second):
				t.Fatalf("%s who waits was not told", who)
			}
		}
		other, stopOther := a.Done("another")
		defer stopOther()
		// What was said before it listens is lost: everybody is to look.
		hears("the first one", other)
		var told []<-chan struct{}
		for range 3 {
			done, stop := a.Done("one")
			defer stop()
			told = append(told, done)
		}
		gone, stop := a.Done("one")
		stop()
		finish(t, b, place, "one", 200, "{}")
		for _, done := range told {
			hears("somebody", done)
		}
		for _, silent := range []<-chan struct{}{other, gone} {
			select {
			case <-silent:
				t.Error("somebody was told who does not wait for it")
			default:
			}
		}
	})
}

func TestAResultThatWasEndedStaysSo(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		q := open(t, url, "a")
		place := submit(t, q, request("one", dispatch.Async))
		late := dispatch.Result{Status: 504, Body: []byte(`{"late":true}`)}
		stored, err := q.End(t.Context(), "one", late)
		if err != nil || stored.Pending || stored.Status != 504 || string(stored.Body) != `{"late":true}` {
			t.Fatalf("%+v, %v", stored, err)
		}
		if first, err := q.FinishAsync(t.Context(), place, "one", dispatch.Result{Status: 200, Body: []byte("{}")}); err != nil || first {
			t.Errorf("a later result: first %v, %v", first, err)
		}
		if stored, err := q.Result(t.Context(), "one"); err != nil || stored.Status != 504 {
			t.Errorf("%+v, %v", stored, err)
		}
		if ttl := client.PTTL(t.Context(), resultPrefix+"one").Val(); ttl <= 0 || ttl > time.Minute {
			t.Errorf("the result is kept for %v, want up to a minute", ttl)
		}
		finish(t, q, submit(t, q, request("two", dispatch.Async)), "two", 200, "{}")
		if stored, err := q.End(t.Context(), "two", late); err != nil || stored.Status != 200 {
			t.Errorf("%+v, %v; want the result that was there", stored, err)
		}
		if _, err := q.End(t.Context(), "three", late); !errors.Is(err, ErrNoResult) {
			t.Errorf("%v", err)
		}
	})
}
