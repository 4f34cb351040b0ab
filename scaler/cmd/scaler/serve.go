package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// parts are what runs side by side. loop, elect and watch end with their context.
type parts struct {
	server             *http.Server
	listener           net.Listener
	loop, elect, watch func(context.Context)
}

// serve runs all parts until the context is done or the server fails, and then
// ends them in this order: the loop, which saves what it remembers, so that nothing
// is written any more; the election, which gives the Lease back; and the server.
func serve(ctx context.Context, p parts) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var served error
	var serving, watching, electing sync.WaitGroup
	serving.Go(func() {
		defer cancel()
		if err := p.server.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
			served = fmt.Errorf("listen %s: %w", p.listener.Addr(), err)
		}
	})
	watching.Go(func() { p.watch(ctx) })
	electable, resign := context.WithCancel(context.WithoutCancel(ctx))
	defer resign()
	electing.Go(func() { p.elect(electable) })

	p.loop(ctx)
	watching.Wait()
	resign()
	electing.Wait()
	closing, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer done()
	if err := p.server.Shutdown(closing); err != nil {
		_ = p.server.Close() // scrapes that hang are not worth waiting for
	}
	serving.Wait()
	return served
}
