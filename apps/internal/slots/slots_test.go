package slots_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"headroom.dev/apps/internal/slots"
)

func TestPlacesAreSlotsPlusWaiting(t *testing.T) {
	pool := slots.NewPool([]string{"a", "b"}, 1)
	for i := range 3 {
		if !pool.Enter() {
			t.Fatalf("place %d was refused", i)
		}
	}
	if pool.Enter() {
		t.Fatal("a fourth place was given")
	}
	pool.Leave()
	if !pool.Enter() {
		t.Fatal("a place that was left was not given again")
	}
}

func TestGetWaitsForASlotUntilTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := slots.NewPool([]string{"a"}, 1)
		if _, err := pool.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := pool.Get(ctx)
		if waited := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || waited != 300*time.Millisecond {
			t.Errorf("got %v after %v", err, waited)
		}
	})
}

func TestASlotGoesToWhoeverWaitsLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := slots.NewPool([]string{"a"}, 2)
		slot, err := pool.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		order := make(chan int, 2)
		for i := range 2 {
			go func() {
				s, err := pool.Get(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				order <- i
				pool.Put(s)
			}()
			synctest.Wait()
		}
		pool.Put(slot)
		if first, second := <-order, <-order; first != 0 || second != 1 {
			t.Errorf("served %d, then %d", first, second)
		}
	})
}

func TestNoSlotForWhoIsTooLate(t *testing.T) {
	pool := slots.NewPool([]string{"a"}, 0)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 100 { // select picks among what is ready at random
		if _, err := pool.Get(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := pool.Get(context.Background()); err != nil {
		t.Errorf("the slot is gone: %v", err)
	}
}
