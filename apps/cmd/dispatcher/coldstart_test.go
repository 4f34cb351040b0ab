package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"headroom.dev/apps/internal/dispatchtest"
)

// At the address of the only replica nobody listens, until two seconds after the
// dispatcher has asked for one.
func TestARequestBringsTheFirstReplicaUp(t *testing.T) {
	address := dispatchtest.FreeAddress(t)
	asked := make(chan struct{}, 100)
	scaler := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
	}))
	defer scaler.Close()
	// The name has every address of this machine's own that there is.
	wake := strings.Replace(scaler.URL, "127.0.0.1", "localhost", 1) + "/wake"
	p := launch(t, dispatchtest.StartRedis(t).URL(), "--backends", "http://"+address, "--slo", "300ms", "--cold-start-allowance", "30s", "--wake", wake)
	p.ready(t)
	answered := make(chan int, 1)
	go func() {
		status, _, _ := p.do(http.MethodPost, "/query", nil)
		answered <- status
	}()
	for range 3 { // at once, and each second
		select {
		case <-asked:
		case <-time.After(20 * time.Second):
			t.Fatal("no replica is asked for")
		}
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	replica := &http.Server{Handler: http.HandlerFunc(dispatchtest.Predict)}
	go func() { _ = replica.Serve(listener) }()
	defer func() { _ = replica.Close() }()
	if status := <-answered; status != http.StatusOK {
		t.Errorf("answered %d", status)
	}
}

func TestWithoutAnAllowanceNobodyWaitsForTheFirstReplica(t *testing.T) {
	p := launch(t, dispatchtest.StartRedis(t).URL(), "--backends", "http://"+dispatchtest.FreeAddress(t), "--slo", "300ms")
	p.ready(t)
	begin := time.Now()
	status, _, body := p.do(http.MethodPost, "/query", nil)
	if status != http.StatusGatewayTimeout || time.Since(begin) > 5*time.Second {
		t.Errorf("answered %d %s after %v", status, body, time.Since(begin))
	}
}
