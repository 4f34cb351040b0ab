// Package loadbench measures the load tester beside vegeta at the same load,
// how late it sends, and up to which rate it is on time.
//
// Each load generator is a process of its own, and so is the server: what is
// measured is what the kernel says of the generator's CPU time.
package loadbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

const (
	// usualRate is that of the lag and of the comparison, in requests per second.
	usualRate = 1000
	// mostLag is how late requests may be sent, at the 99th percentile, for a
	// rate to count as honest.
	mostLag = time.Millisecond
	// startTime is how long the server may take to listen.
	startTime = 10 * time.Second
)

// Config is what is measured, and how long.
type Config struct {
	// Self is this program, which is the load generator as "Self fire" and the
	// server as "Self stub"; Vegeta is vegetabench.
	Self, Vegeta string
	// Picture is the file that is sent.
	Picture string
	// LoadCPUs are the cores of the load generators, ServerCPUs those of the
	// server, as taskset takes them.
	LoadCPUs, ServerCPUs string
	Rounds               int
	Stretch              time.Duration
	Progress             func(format string, args ...any)
}

// measured is one run of a load generator.
type measured struct {
	Outcome
	// CPU is what the process took, from its start to its end.
	CPU time.Duration
}

func (m measured) cpuPerRequest() float64 { return m.CPU.Seconds() / float64(m.Requests) }

// honest tells whether all was sent and answered, and on time.
func (m measured) honest() bool {
	return m.Answered == m.Requests && m.LagP99 < mostLag.Seconds()
}

// Run measures everything.
func Run(ctx context.Context, c Config) (map[string]Figure, error) {
	target, stop, err := c.startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()

	var lags, ratios, highest []float64
	type costs struct {
		Ours   float64 `json:"loadtest_us"`
		Vegeta float64 `json:"vegeta_us"`
	}
	var details []costs
	for round := range c.Rounds {
		var ours, vegeta measured
		order := []func() error{
			func() (err error) { ours, err = c.fire(ctx, target, usualRate); return err },
			func() (err error) { vegeta, err = c.vegeta(ctx, target, usualRate); return err },
		}
		for i := range order {
			if err := order[(i+round)%len(order)](); err != nil {
				return nil, err
			}
		}
		for _, m := range []measured{ours, vegeta} {
			if m.Answered != m.Requests {
				return nil, fmt.Errorf("round %d: %d of %d requests answered; a load generator that loses some can't be compared", round+1, m.Answered, m.Requests)
			}
		}
		top, err := c.highestHonestRate(ctx, target)
		if err != nil {
			return nil, err
		}
		lags = append(lags, ours.LagP99*1000)
		ratios = append(ratios, ours.cpuPerRequest()/vegeta.cpuPerRequest())
		highest = append(highest, top)
		details = append(details, costs{ours.cpuPerRequest() * 1e6, vegeta.cpuPerRequest() * 1e6})
		c.Progress("round %d of %d: lag p99 %.2f ms, CPU per request %.0f µs (vegeta %.0f µs), on time up to %.0f/s",
			round+1, c.Rounds, lags[round], details[round].Ours, details[round].Vegeta, top)
	}
	return map[string]Figure{
		"loadtest_lag_p99_ms": Median("ms",
			"how much later than intended requests were sent, 99th percentile, at 1,000 a second beside an idle server", lags, nil),
		"loadtest_cpu_per_request": Median("ratio",
			"CPU time of the load tester's process for each request, records written, of that of vegeta's as a library, at 1,000 a second, the same picture", ratios, details),
		"loadtest_max_honest_rate": Median("requests/s",
			"highest rate on one core at which all requests are sent and answered and the lag's 99th percentile is below 1 ms", highest, nil),
	}, nil
}

// highestHonestRate raises the rate by half until it is no longer honest, and
// then halves the interval three times.
func (c Config) highestHonestRate(ctx context.Context, target string) (float64, error) {
	// One try may be disturbed by another program.
	honest := func(rate float64) (bool, error) {
		for range 2 {
			m, err := c.fire(ctx, target, rate)
			if err != nil || m.honest() {
				return err == nil, err
			}
		}
		return false, nil
	}
	good, bad := 0.0, float64(usualRate)
	for {
		ok, err := honest(bad)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		good, bad = bad, bad*1.5
	}
	for range 3 {
		middle := (good + bad) / 2
		ok, err := honest(middle)
		if err != nil {
			return 0, err
		}
		if ok {
			good = middle
		} else {
			bad = middle
		}
	}
	return good, nil
}

func (c Config) fire(ctx context.Context, target string, rate float64) (measured, error) {
	return c.generate(ctx, rate, c.Self, "fire", "--target", target, "--picture", c.Picture)
}

func (c Config) vegeta(ctx context.Context, target string, rate float64) (measured, error) {
	return c.generate(ctx, rate, c.Vegeta, "--target", target, "--picture", c.Picture)
}

func (c Config) generate(ctx context.Context, rate float64, program string, args ...string) (m measured, err error) {
	args = append(args, "--rate", strconv.Itoa(int(rate)), "--stretch", c.Stretch.String())
	command := exec.CommandContext(ctx, "taskset", append([]string{"--cpu-list", c.LoadCPUs, program}, args...)...)
	command.Stderr = os.Stderr
	text, err := command.Output()
	if err == nil {
		err = json.Unmarshal(text, &m.Outcome)
	}
	if err != nil {
		return m, fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	m.CPU = command.ProcessState.UserTime() + command.ProcessState.SystemTime()
	return m, nil
}

// startServer returns the stub server's URL.
func (c Config) startServer(ctx context.Context) (target string, stop func(), err error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		return "", nil, err
	}
	server := exec.Command("taskset", "--cpu-list", c.ServerCPUs, c.Self, "stub", "--listen", address)
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		return "", nil, fmt.Errorf("starting the server: %w", err)
	}
	stop = func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return "http://" + address, stop, connection.Close()
		}
		select {
		case <-ctx.Done():
			stop()
			return "", nil, errors.Join(fmt.Errorf("the server does not listen on %s", address), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
