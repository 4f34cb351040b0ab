package control

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/scaler/internal/policy"
)

// lives makes a world of a scaler that has watched an idle target for long enough
// to take replicas away.
func lives(t *testing.T, s *store) *world {
	w := begin(t, func(w *world) { w.store = s; w.replicas = Replicas{Spec: 1, Ready: 1} })
	w.replicas.BecameReady = []policy.Cohort{{Age: 7 * time.Second, Count: 2}}
	w.pass(90 * time.Second)
	return w
}

func (s *store) saved(t *testing.T) saved {
	t.Helper()
	var out saved
	if err := json.Unmarshal(s.text, &out); err != nil {
		t.Fatalf("saved %q: %v", s.text, err)
	}
	return out
}

func TestTheLeaderSavesEvery10SecondsAndAfterEachScaling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := lives(t, &store{})
		if w.store.saves < 8 || w.store.saves > 10 {
			t.Errorf("saved %d times in 90 s, want every 10 s", w.store.saves)
		}
		w.pass(3 * time.Second)
		saves := w.store.saves
		w.settings.Policy.Min = 2
		w.loop.Configure(w.settings)
		w.pass(0)
		w.wantScaled(t, "1→2")
		if w.store.saves != saves+1 || w.store.saved(t).State.Decided != 2 {
			t.Errorf("saved %d times more, with %d replicas decided, want once, with 2", w.store.saves-saves, w.store.saved(t).State.Decided)
		}
	})
}

func TestASlowStoreDelaysNoTurnAndGetsTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.store.saveTakes = time.Hour })
		for range 5 { // as many savings as scalings, faster than they are made
			w.pass(2 * time.Second)
			w.replicas.Spec, w.replicas.Ready = 11, 11 // more than the most, which is taken back at once
		}
		w.pass(51 * time.Second)
		if len(w.scaled) < 5 || len(w.reads) != 31 || w.logged("saving what the policy remembers fails") != 1 {
			t.Errorf("%d turns in a minute, want 31; log:\n%s", len(w.reads), w.log.String())
		}
		w.store.saveTakes = 0
		w.pass(20 * time.Second)
		if w.store.saves == 0 || w.loop.state.Last.Sub(w.store.saved(t).At) > saveEvery || w.logged("saving what the policy remembers works again") != 1 {
			t.Errorf("saved %d times; log:\n%s", w.store.saves, w.log.String())
		}
	})
}

func TestARestartedScalerGoesOnWhereItEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := lives(t, &store{})
		before.pass(5 * time.Second) // two turns after it was saved
		before.end()
		was := before.store.saved(t).State
		if !was.Last.Equal(before.loop.state.Last) {
			t.Fatalf("saved in the end: the state of %s, want of the last turn at %s", was.Last, before.loop.state.Last)
		}
		time.Sleep(2 * time.Second)
		w := begin(t, func(w *world) { w.store = before.store; w.replicas = Replicas{Spec: 3, Ready: 3} })
		if !w.loop.state.Since.Equal(was.Since) || w.loop.state.Lead != was.Lead {
			t.Errorf("watched since %s with lead time %+v, want as before since %s with %+v; log:\n%s",
				w.loop.state.Since, w.loop.state.Lead, was.Since, was.Lead, w.log.String())
		}
		w.wantScaled(t, "3→2") // at once: the stabilization window was watched
	})
}

func TestTheNextLeaderTakesOverWhatTheLastOneKnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		leader := lives(t, s)
		follower := begin(t, func(w *world) { w.store = &store{}; w.leader.Store(false); w.replicas = leader.replicas })
		leader.mu.Unlock()
		follower.pass(8 * time.Second)
		leader.mu.Lock()
		leader.end()
		// The follower reads what the leader saved last, and has seen more since.
		follower.store.text = s.text
		follower.pass(20 * time.Second)
		young := follower.loop.state.Since
		follower.leader.Store(true)
		follower.pass(4 * time.Second)
		was, is := s.saved(t).State, follower.loop.state
		if !is.Since.Equal(was.Since) || is.Lead != was.Lead || is.Since.Equal(young) || len(is.History) <= len(was.History) {
			t.Errorf("watched since %s with lead time %+v and %d arrivals, want since %s with %+v and more than %d; log:\n%s",
				is.Since, is.Lead, len(is.History), was.Since, was.Lead, len(was.History), follower.log.String())
		}
		if follower.store.saves == 0 {
			t.Error("the new leader saves nothing")
		}
	})
}

func TestWhatWasSavedIsOnlyTakenOverWhenItIsOfUse(t *testing.T) {
	now := time.Now()
	state := policy.State{Since: now.Add(-time.Hour), Last: now.Add(-3 * time.Second)}
	text := func(s saved) string {
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for name, tc := range map[string]struct {
		saved string
		taken bool
		says  string
	}{
		"what is young and older than this scaler": {text(saved{1, now.Add(-3 * time.Second), state}), true, "taking over"},
		"what is of five minutes ago":              {text(saved{1, now.Add(-5 * time.Minute), state}), false, ""},
		"what is of another version":               {text(saved{2, now, state}), false, "can't be read"},
		"what is no JSON":                          {"{", false, "can't be read"},
		"nothing":                                  {"", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := begin(t, func(w *world) {
					if tc.saved != "" {
						// The bubble's clock is another: what is saved keeps its distance to it.
						var s saved
						if json.Unmarshal([]byte(tc.saved), &s) == nil {
							shift := w.start.Sub(now)
							s.At, s.State.Since, s.State.Last = s.At.Add(shift), s.State.Since.Add(shift), s.State.Last.Add(shift)
							tc.saved = text(s)
						}
						w.store.text = []byte(tc.saved)
					}
				})
				if taken := w.loop.state.Since.Before(w.start); taken != tc.taken {
					t.Errorf("taken over: %t, want %t; log:\n%s", taken, tc.taken, w.log.String())
				}
				if tc.says != "" && w.logged(tc.says) == 0 {
					t.Errorf("want %q said; log:\n%s", tc.says, w.log.String())
				}
				w.pass(3 * time.Second)
				if w.store.saves == 0 {
					t.Error("a scaler that found nothing of use saves nothing")
				}
			})
		})
	}
}

func TestWhatIsSavedIsNotReplacedBeforeItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.store.loadErr = errors.New("no route to host") })
		w.pass(15 * time.Second)
		if w.store.saves != 0 || len(w.reads) == 0 || w.logged("no route to host") != 1 {
			t.Errorf("saved %d times before it could be read; log:\n%s", w.store.saves, w.log.String())
		}
		w.store.loadErr = nil
		w.pass(25 * time.Second)
		if w.store.saves == 0 || w.logged("loading what the policy remembers works again") != 1 {
			t.Errorf("saved %d times, log:\n%s", w.store.saves, w.log.String())
		}
	})
}

func TestANewTermReadsAgainBeforeItSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, nil)
		w.pass(15 * time.Second)
		w.leader.Store(false)
		w.pass(4 * time.Second)
		w.store.loadErr = errors.New("no route to host") // what another leader saved can't be known
		saves := w.store.saves
		w.leader.Store(true)
		w.pass(time.Minute)
		if saves == 0 || w.store.saves != saves {
			t.Errorf("saved %d times, and %d more before it was read again", saves, w.store.saves-saves)
		}
	})
}

func TestAYoungerStateIsNotTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.leader.Store(false) })
		w.pass(90 * time.Second)
		since := w.loop.state.Since
		young, err := json.Marshal(saved{savedVersion, time.Now(), policy.State{Since: time.Now().Add(-time.Minute), Last: time.Now().Add(-time.Second)}})
		if err != nil {
			t.Fatal(err)
		}
		w.store.text = young
		w.leader.Store(true)
		w.pass(4 * time.Second)
		if w.store.loads < 2 || !w.loop.state.Since.Equal(since) {
			t.Errorf("loaded %d times, watched since %s, want since %s", w.store.loads, w.loop.state.Since, since)
		}
	})
}

func TestAScalerThatNeverDecidedSavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.targetErr = errors.New("no route to host") })
		w.pass(30 * time.Second)
		w.end()
		if w.store.saves != 0 {
			t.Errorf("saved %d times: %s", w.store.saves, w.store.text)
		}
	})
}

func TestKnowingMore(t *testing.T) {
	now := time.Now()
	some := policy.State{Since: now, Last: now, History: make([]policy.Sample, 3), Lead: policy.Lead{Count: 2}}
	with := func(change func(*policy.State)) policy.State {
		s := some
		change(&s)
		return s
	}
	for name, tc := range map[string]struct {
		saved, own policy.State
		want       bool
	}{
		"anything is more than nothing":        {policy.State{}, policy.State{}, true},
		"the same is not more":                 {some, some, false},
		"an older watch is more":               {with(func(s *policy.State) { s.Since = now.Add(-time.Second); s.History = nil }), some, true},
		"a younger watch is less":              {with(func(s *policy.State) { s.Since = now.Add(time.Second); s.History = make([]policy.Sample, 9) }), some, false},
		"of the same age, more arrivals":       {with(func(s *policy.State) { s.History = make([]policy.Sample, 4) }), some, true},
		"of the same arrivals, more lead time": {with(func(s *policy.State) { s.Lead.Count = 3 }), some, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := knowsMore(tc.saved, tc.own); got != tc.want {
				t.Errorf("%t, want %t", got, tc.want)
			}
		})
	}
}

func TestAStateWithoutAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, func(w *world) { w.storeless = true; w.settings.Policy.Min = 2 })
		w.pass(time.Minute)
		w.wantScaled(t, "1→2")
		w.end()
		if strings.Contains(w.log.String(), "WARN") {
			t.Errorf("log:\n%s", w.log.String())
		}
	})
}
