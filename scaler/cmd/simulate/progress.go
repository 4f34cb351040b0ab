package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// quiet is for how long nothing is said: what is done by then needs no words.
const quiet = 2 * time.Second

// progress tells how many runs are done, now and then.
func progress(w io.Writer, what string) func(done, total int) {
	var mu sync.Mutex
	started := time.Now()
	last, silent := started, true
	return func(done, total int) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if now.Sub(last) < quiet || done == total && silent {
			return
		}
		last, silent = now, false
		fmt.Fprintf(w, "simulate: %s: %d of %d runs after %s\n", what, done, total, now.Sub(started).Round(time.Second))
	}
}
