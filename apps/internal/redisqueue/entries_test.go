package redisqueue

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/dispatchtest"
)

func ids(entries []Entry) string {
	var list []string
	for _, e := range entries {
		list = append(list, e.ID)
	}
	return strings.Join(list, " ")
}

func TestAHigherPriorityIsReadFirst(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		q := open(t, url, "a")
		for i := range 2 {
			for _, p := range []dispatch.Priority{dispatch.Low, dispatch.High, dispatch.Normal} {
				r := request(fmt.Sprintf("%v%d", p, i), dispatch.Sync)
				r.Priority = p
				submit(t, q, r)
			}
		}
		if o := observed(t, q); o.Queued != [3]int{2, 2, 2} {
			t.Errorf("queued %v, want two of each", o.Queued)
		}
		take := func(n int, queued [3]int) (string, [3]int) {
			entries, err := q.Read(t.Context(), n, &queued, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Place.Priority != e.Priority || e.Deliveries != 1 {
					t.Errorf("read %+v", e)
				}
			}
			return ids(entries), queued
		}
		for _, step := range []struct {
			n            int
			queued, left [3]int // low, normal, high
			want         string
		}{
			{1, [3]int{2, 2, 2}, [3]int{2, 2, 2}, "high0"},
			{5, [3]int{2, 2, 1}, [3]int{2, 2, 1}, "high1"},
			{1, [3]int{2, 2, 1}, [3]int{2, 2, 0}, "normal0"},
			// What it doesn't know of it finds when there is nothing else.
			{9, [3]int{}, [3]int{}, "normal1 low0 low1"},
		} {
			if got, left := take(step.n, step.queued); got != step.want || left != step.left {
				t.Errorf("of %v read %q, and left %v; want %q, %v", step.queued, got, left, step.want, step.left)
			}
		}
	})
}

func TestWhatIsSaidOfAPictureGoesAlong(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		q := open(t, url, "a")
		r := request("one", dispatch.Async)
		r.ContentType, r.ResultID = "image/webp", "web:one"
		submit(t, q, r)
		if got := read(t, q, 1); len(got) != 1 || got[0].ContentType != "image/webp" || got[0].ResultID != "web:one" {
			t.Errorf("read %+v", got)
		}
	})
}

func TestWhoWaitsIsWokenByAnEntryOfAnyPriority(t *testing.T) {
	server := dispatchtest.StartRedis(t)
	client := server.Client()
	t.Cleanup(func() { _ = client.Close() })
	q := open(t, server.URL(), "a")
	for _, p := range dispatch.Priorities {
		got := make(chan []Entry, 1)
		go func() {
			entries, err := q.Read(t.Context(), 4, new([3]int), 10*time.Second)
			if err != nil {
				t.Error(err)
			}
			got <- entries
		}()
		dispatchtest.Eventually(t, 5*time.Second, "it waits", func() bool {
			clients, err := client.ClientList(t.Context()).Result()
			return err == nil && strings.Contains(clients, "cmd=xreadgroup")
		})
		r := request(p.String(), dispatch.Sync)
		r.Priority = p
		submit(t, q, r)
		select {
		case entries := <-got:
			if ids(entries) != p.String() || entries[0].Priority != p {
				t.Errorf("read %+v, want the one of priority %v", entries, p)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("nobody was woken by an entry of priority %v", p)
		}
	}
}

func TestDeliveriesAreCounted(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		a, b := open(t, url, "a"), open(t, url, "b")
		submit(t, a, request("one", dispatch.Async))
		if got := read(t, a, 1); len(got) != 1 || got[0].Deliveries != 1 {
			t.Fatalf("read %+v", got)
		}
		for want := 2; want <= 4; want++ {
			q := a
			if want%2 == 0 {
				q = b
			}
			var got []Entry
			dispatchtest.Eventually(t, 5*time.Second, "it is reclaimed", func() bool {
				var err error
				if got, err = q.Reclaim(t.Context(), 4, time.Millisecond); err != nil {
					t.Fatal(err)
				}
				return len(got) > 0
			})
			if len(got) != 1 || got[0].Deliveries != want || string(got[0].Picture) != string(request("", dispatch.Async).Picture) {
				t.Errorf("delivery %d: %+v", want, got)
			}
		}
	})
}

func TestAClaimThatAnotherHasIsNotExtended(t *testing.T) {
	each(t, func(t *testing.T, url string, _ *redis.Client) {
		a, b := open(t, url, "a"), open(t, url, "b")
		taken := submit(t, a, request("taken", dispatch.Async))
		low := request("low", dispatch.Async)
		low.Priority = dispatch.Low
		kept := submit(t, a, low)
		read(t, a, 2)
		dispatchtest.Eventually(t, 5*time.Second, "b takes one over", func() bool {
			got, err := b.Reclaim(t.Context(), 1, time.Millisecond)
			return err == nil && len(got) == 1
		})
		lost, err := a.Extend(t.Context(), []Place{taken, kept})
		if err != nil || len(lost) != 1 || lost[0] != taken {
			t.Errorf("lost %v, %v; want %v", lost, err, taken)
		}
		if lost, err := b.Extend(t.Context(), []Place{taken}); err != nil || len(lost) != 0 {
			t.Errorf("b lost %v, %v", lost, err)
		}
	})
}

func TestWhatWasTrimmedWhileItWasWorkedOnIsNotReclaimed(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		a, b := open(t, url, "a"), open(t, url, "b")
		submit(t, a, request("one", dispatch.Async))
		read(t, a, 1)
		if _, err := a.Trim(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		dispatchtest.Eventually(t, 5*time.Second, "nobody has it any more", func() bool {
			got, err := b.Reclaim(t.Context(), 4, time.Millisecond)
			if err != nil || len(got) > 0 {
				t.Fatalf("reclaimed %+v, %v", got, err)
			}
			_, pending := length(t, client)
			return pending == 0
		})
	})
}

func TestRemoveTakesManyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		q := open(t, url, "a")
		var places []Place
		for i := range 6 {
			r := request(fmt.Sprint(i), dispatch.Sync)
			r.Priority = dispatch.Priorities[i%3]
			places = append(places, submit(t, q, r))
		}
		read(t, q, 3)
		if err := q.Remove(t.Context(), places...); err != nil {
			t.Fatal(err)
		}
		if entries, pending := length(t, client); entries != 0 || pending != 0 {
			t.Errorf("%d entries, %d pending are left", entries, pending)
		}
	})
}

func TestObserveCountsTheDispatchersThatAreThere(t *testing.T) {
	each(t, func(t *testing.T, url string, client *redis.Client) {
		a, b := open(t, url, "a"), open(t, url, "b")
		if o := observed(t, a); o.Dispatchers != 1 {
			t.Errorf("%d dispatchers before the other one looked, want 1", o.Dispatchers)
		}
		observed(t, b)
		if o := observed(t, a); o.Dispatchers != 2 {
			t.Errorf("%d dispatchers, want 2", o.Dispatchers)
		}
		if err := b.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if o := observed(t, a); o.Dispatchers != 1 {
			t.Errorf("%d dispatchers after the other one has left, want 1", o.Dispatchers)
		}
		long := time.Now().Add(-2 * hereFor).UnixMilli()
		if err := client.ZAdd(t.Context(), hereKey, redis.Z{Score: float64(long), Member: "gone"}).Err(); err != nil {
			t.Fatal(err)
		}
		if o := observed(t, a); o.Dispatchers != 1 {
			t.Errorf("%d dispatchers, want 1: the other one is silent", o.Dispatchers)
		}
	})
}
