package fire_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/loadtest/internal/fire"
	"headroom.dev/loadtest/internal/pace"
	"headroom.dev/loadtest/internal/record"
)

// Against servers whose behaviour is known every figure can be worked out by
// hand. In virtual time it is met exactly; percentiles are exact to 0.1%.
func TestFiguresAgainstServersOfKnownBehaviour(t *testing.T) {
	after := func(d time.Duration) func(int64) (*http.Response, error) {
		return func(int64) (*http.Response, error) {
			time.Sleep(d)
			return answer(http.StatusOK, prediction), nil
		}
	}
	for _, tt := range []struct {
		name       string
		respond    func(n int64) (*http.Response, error)
		outcomes   map[record.Outcome]int
		codes      map[string]int
		p50, p99   float64
		mean, max  float64
		violations int
		last       time.Duration
	}{
		{
			name: "a fixed delay of 80 ms", respond: after(80 * ms),
			outcomes: map[record.Outcome]int{record.Answered: 200}, codes: map[string]int{},
			p50: 0.08, p99: 0.08, mean: 0.08, max: 0.08,
			// The last of 200, one every 10 ms, is sent at 1.99 s.
			last: 1990*ms + 80*ms,
		},
		{
			name: "a fixed delay of the promise, which is kept, and one above it, which is not",
			respond: func(n int64) (*http.Response, error) {
				return after(500*ms + time.Duration(n%2)*ms)(n)
			},
			outcomes: map[record.Outcome]int{record.Answered: 200}, codes: map[string]int{},
			p50: 0.5, p99: 0.501, mean: 0.5005, max: 0.501, violations: 100,
			last: 1990*ms + 501*ms,
		},
		{
			name: "every tenth an error, at once",
			respond: func(n int64) (*http.Response, error) {
				if n%10 == 9 {
					return answer(http.StatusInternalServerError, `{"error":{"code":"internal"}}`), nil
				}
				return after(20 * ms)(n)
			},
			outcomes: map[record.Outcome]int{record.Answered: 180, record.Failed: 20}, codes: map[string]int{"internal": 20},
			// The latencies are those of the answers: an error that is quick makes nothing faster.
			p50: 0.02, p99: 0.02, mean: 0.02, max: 0.02, violations: 20,
			// The last is an error; the one before it, sent at 1.98 s, is answered after it.
			last: 1980*ms + 20*ms,
		},
		{
			name: "a hang from the 101st on",
			respond: func(n int64) (*http.Response, error) {
				if n >= 100 {
					return nil, nil
				}
				return after(20 * ms)(n)
			},
			outcomes: map[record.Outcome]int{record.Answered: 100, record.Failed: 100}, codes: map[string]int{fire.CodeTimeout: 100},
			p50: 0.02, p99: 0.02, mean: 0.02, max: 0.02, violations: 100,
			last: 1990*ms + 5*time.Second,
		},
		{
			// Each takes 20 ms of the only worker: the n-th is answered at 20 (n+1) ms
			// and was sent at 10 n ms, so it took 20 + 10 n ms, from 20 to 2010.
			name: "a queue that grows, as it is served at half of the rate", respond: oneAfterTheOther(20 * ms),
			outcomes: map[record.Outcome]int{record.Answered: 200}, codes: map[string]int{},
			// The 100th and the 198th of 200; those from n = 49 on took more than 500 ms.
			p50: 1.01, p99: 1.99, mean: 1.015, max: 2.01, violations: 151,
			last: 4 * time.Second,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := virtual(t)
				var count atomic.Int64
				c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
					response, err := tt.respond(count.Add(1) - 1)
					if response == nil && err == nil {
						<-r.Context().Done()
						return nil, r.Context().Err()
					}
					return response, err
				})
				records, _ := replay(t.Context(), c, every(10*ms, 200))
				all := tally(records)
				if got, want := fmt.Sprint(all.Outcomes, all.Codes), fmt.Sprint(tt.outcomes, tt.codes); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				for _, f := range []struct {
					name      string
					got, want float64
				}{
					{"p50", all.Latency.Quantile(0.5), tt.p50}, {"p99", all.Latency.Quantile(0.99), tt.p99},
					{"mean", all.Latency.Mean(), tt.mean}, {"max", all.Latency.Max(), tt.max},
				} {
					if math.Abs(f.got-f.want) > 0.001*f.want {
						t.Errorf("%s: got %v, want %v", f.name, f.got, f.want)
					}
				}
				if all.Violations() != tt.violations || all.Last != tt.last || all.Lag.Max() != 0 || all.Due() != 200 {
					t.Errorf("%d violations, the last ended at %v, lag up to %v s, %d due; want %d, %v, 0 and 200",
						all.Violations(), all.Last, all.Lag.Max(), all.Due(), tt.violations, tt.last)
				}
			})
		})
	}
}

// A load tester that is late itself says so, and its lateness counts against the
// latency, as it would for the user whose request it stands for.
func TestLatenessIsInTheLagAndInTheLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := virtual(t)
		c.Sleep = func(d time.Duration) { time.Sleep(d + 30*ms) }
		c.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			time.Sleep(20 * ms)
			return answer(http.StatusOK, prediction), nil
		})
		records, _ := replay(t.Context(), c, every(100*ms, 10))
		for i, r := range records {
			lag := 30 * ms
			if i == 0 {
				lag = 0 // nothing to wait for
			}
			if r.Lag != lag || r.Latency != lag+20*ms {
				t.Errorf("request %d: lag %v, latency %v; want %v and %v", i, r.Lag, r.Latency, lag, lag+20*ms)
			}
		}
	})
}

// The recorded lag is what an observer at the other end sees, and over a second
// at 200 a second the schedule itself is not off.
func TestTheLagThatIsRecordedIsTheRealOne(t *testing.T) {
	schedule, err := pace.Schedule([]float64{200}, pace.Options{Scale: 1, Speed: 1, Arrivals: pace.Gamma, CV: 2, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string]time.Time{}
	c := config(t, "http://dispatcher")
	c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		seen[r.Header.Get("X-Request-Id")] = now
		return answer(http.StatusOK, prediction), nil
	})
	start := time.Now()
	var records []record.Record
	fire.Run(context.Background(), c, start, schedule, func(r record.Record) {
		mu.Lock()
		defer mu.Unlock()
		records = append(records, r)
	})
	slices.SortFunc(records, func(a, b record.Record) int { return int(a.Intended - b.Intended) })
	var off []time.Duration
	for i, r := range records {
		if r.Intended != schedule[i] {
			t.Fatalf("request %d was intended at %v, want %v", i, r.Intended, schedule[i])
		}
		at := seen[fmt.Sprintf("test-%d", i)].Sub(start)
		if at < schedule[i] {
			t.Errorf("request %d was sent %v early", i, schedule[i]-at)
		}
		off = append(off, (at - schedule[i] - r.Lag).Abs())
	}
	slices.Sort(off)
	// The machine may take the processor away between the two looks at the clock, but not at most of them.
	if median := off[len(off)/2]; median > ms {
		t.Errorf("what is recorded as lag is %v off in the middle", median)
	}
}

// Pictures of all sizes go out whole, each with its own type.
func TestPicturesOfMixedSizes(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		mu.Lock()
		got[fmt.Sprintf("%s %d of %d", r.Header.Get("Content-Type"), n, r.ContentLength)]++
		mu.Unlock()
		_, _ = io.WriteString(w, prediction)
	})
	c := config(t, address)
	c.Images = nil
	want := map[string]int{}
	for _, size := range []int{1, 4 << 10, 32 << 10, 33<<10 + 1, 300 << 10, 3 << 20} {
		c.Images = append(c.Images, fire.Image{ContentType: "image/png", Bytes: make([]byte, size)})
		want[fmt.Sprintf("image/png %d of %d", size, size)] = 4
	}
	records, _ := replay(t.Context(), c, every(20*ms, 24))
	if all := tally(records); all.Outcomes[record.Answered] != 24 {
		t.Errorf("outcomes %v, codes %v", all.Outcomes, all.Codes)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the server got %v, want %v", got, want)
	}
}

// oneAfterTheOther is a server with one worker.
func oneAfterTheOther(service time.Duration) func(int64) (*http.Response, error) {
	var mu sync.Mutex
	var free time.Time
	return func(int64) (*http.Response, error) {
		mu.Lock()
		if now := time.Now(); free.Before(now) {
			free = now
		}
		free = free.Add(service)
		done := free
		mu.Unlock()
		time.Sleep(time.Until(done))
		return answer(http.StatusOK, prediction), nil
	}
}
