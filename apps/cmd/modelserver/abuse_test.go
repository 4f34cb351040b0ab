package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const bundled = "../../../models/vehicles"

// abuse is what a hostile or broken client sends; each returns the status that
// it was answered with, or 0 where it did not wait for one.
var abuse = map[string]func(address string) (status int, err error){
	"bytes that are no picture": func(address string) (int, error) {
		garbage := make([]byte, 20_000)
		for i := range garbage {
			garbage[i] = byte(rand.IntN(256))
		}
		return send(address, len(garbage), garbage, false)
	},
	"34 bytes of GIF that ask for 4 GiB": func(address string) (int, error) {
		bomb := "GIF89a\xff\xff\xff\xff\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02L\x01\x00"
		return send(address, len(bomb), []byte(bomb), false)
	},
	"a picture of few bytes and very much memory": func(address string) (int, error) {
		body := deepPNG()
		return send(address, len(body), body, false)
	},
	"a JPEG that is broken in its middle": func(address string) (int, error) {
		photo, err := os.ReadFile(bundled + "/samples/bus.jpg")
		if err != nil {
			return 0, err
		}
		photo = slices.Clone(photo)
		copy(photo[len(photo)/2:], bytes.Repeat([]byte{0xff, 0xd0}, 40))
		return send(address, len(photo), photo, false)
	},
	"a body that ends in its middle": func(address string) (int, error) {
		return send(address, 100_000, make([]byte, 30_000), true)
	},
	"a body that never comes": func(address string) (int, error) {
		connection, err := net.Dial("tcp", address)
		if err != nil {
			return 0, err
		}
		time.AfterFunc(3*time.Second, func() { _ = connection.Close() })
		_, err = fmt.Fprintf(connection, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 1000000\r\n\r\nx")
		return 0, err
	},
	"JSON that is deep": func(address string) (int, error) {
		body := []byte(strings.Repeat(`{"image":`, 5000))
		return send(address, len(body), body, false, "Content-Type: application/json")
	},
}

// deepPNG announces 5000×5000 pixels of 8 bytes each, which is within the limit
// of pixels, and holds none.
func deepPNG() []byte {
	header := []byte("IHDR\x00\x00\x13\x88\x00\x00\x13\x88\x10\x06\x00\x00\x00")
	file := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), header...)
	return binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(header))
}

// send writes a request with a body and reads the answer's status. close ends
// the sending half of the connection after the body.
func send(address string, length int, body []byte, closes bool, headers ...string) (status int, err error) {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, connection.Close()) }()
	if err := connection.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return 0, err
	}
	head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n", length)
	for _, header := range headers {
		head += header + "\r\n"
	}
	if _, err := connection.Write(append([]byte(head+"\r\n"), body...)); err != nil {
		return 0, err
	}
	if closes {
		if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
			return 0, err
		}
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, errors.Join(err, response.Body.Close())
}

func TestEveryAbuseIsRefusedWithItsLimit(t *testing.T) {
	s := start(t, "--model", bundled, "--read-timeout", "200ms")
	s.await(t, http.StatusOK)
	address := strings.TrimPrefix(s.requests, "http://")
	for name, do := range abuse {
		if status, err := do(address); err != nil || status != 0 && (status < 400 || status > 499) {
			t.Errorf("%s: got %d, %v", name, status, err)
		}
	}
	// The body that never comes is answered when its time is over.
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(connection, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	const want = `{"error":{"code":"request_timeout","message":"the body did not arrive within 200ms, the most that is accepted"}}`
	if err != nil || response.StatusCode != 408 || string(body) != want {
		t.Errorf("got %d %s, %v", response.StatusCode, body, err)
	}
}

// While clients send garbage 200 times a second, those who send pictures keep
// their 99th percentile within twice of what it is in peace. Peace and abuse
// take turns, so that what else the machine does falls on both.
func TestAbuseLeavesGoodRequestsTheirLatency(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 20 seconds")
	}
	const rounds, stretch, goodRate, abuseRate = 5, 2 * time.Second, 25, 200
	photo, err := os.ReadFile(bundled + "/samples/bus.jpg")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, "--model", bundled)
	s.await(t, http.StatusOK)

	var peace, war []time.Duration
	var sent atomic.Int64
	for range rounds {
		peace = append(peace, worst(s.latencies(t, photo, goodRate, stretch)))
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { sent.Add(int64(sendAbuse(ctx, t, strings.TrimPrefix(s.requests, "http://"), abuseRate))) })
		war = append(war, worst(s.latencies(t, photo, goodRate, stretch)))
		stop()
		group.Wait()
	}
	if want := int64(rounds * abuseRate * stretch.Seconds() * 0.8); sent.Load() < want {
		t.Errorf("only %d hostile requests were sent, want at least %d", sent.Load(), want)
	}
	slices.Sort(peace)
	slices.Sort(war)
	if p, w := peace[rounds/2], war[rounds/2]; w > 2*p {
		t.Errorf("p99 is %v beside %d hostile requests a second, and %v without; rounds: %v and %v", w, abuseRate, p, war, peace)
	} else {
		t.Logf("p99 %v beside %d hostile requests a second, %v without", w, abuseRate, p)
	}
}

// worst is the 99th percentile of about 50 latencies: the highest but none.
func worst(latencies []time.Duration) time.Duration { return slices.Max(latencies) }

// latencies sends pictures at a rate, evenly spaced, and returns how long each
// took from when it was due.
func (s *server) latencies(t *testing.T, picture []byte, rate int, stretch time.Duration) []time.Duration {
	t.Helper()
	var mu sync.Mutex
	var result []time.Duration
	var group sync.WaitGroup
	begin := time.Now()
	for n := range rate * int(stretch/time.Second) {
		due := begin.Add(time.Duration(n) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		group.Go(func() {
			status, _, err := classify(s.requests, bytes.NewReader(picture))
			took := time.Since(due)
			if err != nil || status != http.StatusOK {
				t.Errorf("a good request was answered %d, %v", status, err)
			}
			mu.Lock()
			defer mu.Unlock()
			result = append(result, took)
		})
	}
	group.Wait()
	return result
}

// sendAbuse sends every kind of it in turn until ctx ends, and returns how many.
func sendAbuse(ctx context.Context, t *testing.T, address string, rate int) int {
	names := make([]string, 0, len(abuse))
	for name := range abuse {
		names = append(names, name)
	}
	slices.Sort(names)
	var group sync.WaitGroup
	begin := time.Now()
	n := 0
	for ; ctx.Err() == nil; n++ {
		name := names[n%len(names)]
		group.Go(func() {
			if status, err := abuse[name](address); err != nil || status >= 500 {
				t.Errorf("%s: got %d, %v", name, status, err)
			}
		})
		time.Sleep(time.Until(begin.Add(time.Duration(n+1) * time.Second / time.Duration(rate))))
	}
	group.Wait()
	return n
}
