package faulttest

import (
	"net"
	"sync"
	"testing"
)

// proxy stands between a dispatcher and Redis, to cut it off.
type proxy struct {
	t       testing.TB
	address string
	target  string

	mu       sync.Mutex
	listener net.Listener
	// open is closed while bytes get through.
	open        chan struct{}
	connections map[net.Conn]bool
	forwarders  sync.WaitGroup
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	p := &proxy{t: t, address: fixedAddress(t), target: target, open: make(chan struct{}), connections: map[net.Conn]bool{}}
	close(p.open)
	p.listen()
	t.Cleanup(func() {
		p.cut()
		p.letThrough()
		p.forwarders.Wait()
	})
	return p
}

func (p *proxy) listen() {
	p.t.Helper()
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.listener = listener
	p.mu.Unlock()
	p.forwarders.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			p.forwarders.Go(func() { p.serve(connection) })
		}
	})
}

func (p *proxy) serve(near net.Conn) {
	defer p.drop(near)
	if !p.keep(near) {
		return
	}
	p.awaitOpen()
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.drop(far)
	if !p.keep(far) {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		p.forward(near, far)
	}()
	p.forward(far, near)
	<-back
}

// keep says whether a connection may be used: not where it came in while the
// proxy was being cut.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return false
	}
	p.connections[c] = true
	return true
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	delete(p.connections, c)
	p.mu.Unlock()
	_ = c.Close()
}

func (p *proxy) awaitOpen() {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	<-open
}

// forward carries bytes one way until either end closes, and then closes both.
func (p *proxy) forward(to, from net.Conn) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			// As on a network that comes back, what was on its way arrives
			// late, even from a sender that has given up.
			p.awaitOpen()
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// blackhole lets nothing through any more and keeps the connections.
func (p *proxy) blackhole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

// cut closes the connections and refuses new ones.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	for c := range p.connections {
		_ = c.Close()
	}
}

// heal lets everything through again.
func (p *proxy) heal() {
	p.letThrough()
	p.mu.Lock()
	closed := p.listener == nil
	p.mu.Unlock()
	if closed {
		p.listen()
	}
}

func (p *proxy) letThrough() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}
