// Package dispatchbench measures the dispatcher beside its limits and peers in
// the same run: a model server that does nothing asked without it, the Redis
// commands that its queue can't do without, and the job queue asynq.
//
// The dispatcher is a process like any other: what is measured is what its
// callers see and what the kernel says of its CPU time.
package dispatchbench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"headroom.dev/apps/internal/servebench"
)

const (
	// pictureBytes is the size of a usual photograph for the web.
	pictureBytes = 110 << 10
	// smallBytes is the size of a picture where the machine's cores must not be
	// the limit.
	smallBytes = 1 << 10
	// mostLag is how late at most, at the 99th percentile, requests may be sent
	// for a round to be trusted.
	mostLag = 20 * time.Millisecond
	// mostFailed is the share of requests that may fail where none should.
	mostFailed = 0.01
)

// Config is what is measured, and how long.
type Config struct {
	// Program is the dispatcher, Self this program, which is the model servers
	// as "Self stub", and Peers is asynqbench.
	Program, Self, Peers string
	// SubjectCPUs are the cores of what is measured, as taskset takes them:
	// one, for figures per core to be that. This program and all else should
	// run on others.
	SubjectCPUs string
	// Folder is where Redis may write; it writes hundreds of megabytes.
	Folder  string
	Rounds  int
	Stretch time.Duration
	Seed    uint64
	// Parts are those that are measured, of overhead, throughput and overload.
	Parts    []string
	Progress func(format string, args ...any)
}

// bench is a run.
type bench struct {
	Config
	client *http.Client
	redis  string // host:port
	null   string // URL of a model server that does nothing
	// payload is the file that holds picture.
	payload        string
	picture, small []byte
	// queued tells whether the dispatcher can be told to have every request
	// take the way through its queue.
	queued bool
	// databases is how many of Redis's databases have been given away.
	databases int
	// lags are how late requests were sent at the 99th percentile, in
	// milliseconds: one for each measurement.
	lags []float64
}

// Run measures everything.
func Run(ctx context.Context, config Config) (figures map[string]servebench.Figure, err error) {
	b := &bench{Config: config, client: newClient(), picture: picture(pictureBytes), small: picture(smallBytes)}
	defer b.client.CloseIdleConnections()
	folder, err := os.MkdirTemp(config.Folder, "headroom-bench-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for Redis: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	b.Folder, b.payload = folder, filepath.Join(folder, "picture")
	if err := os.WriteFile(b.payload, b.picture, 0o600); err != nil {
		return nil, fmt.Errorf("writing the picture: %w", err)
	}
	if b.queued, err = hasFlag(ctx, config.Program, "--[no-]direct"); err != nil {
		return nil, err
	}
	redis, err := b.startRedis(ctx)
	if err != nil {
		return nil, err
	}
	// Not stopped: what it forks to rewrite its file would go on in the folder.
	defer redis.end()
	stub, urls, err := b.startStub(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer stub.stop()
	b.null = urls[0]

	figures = map[string]servebench.Figure{}
	for _, part := range []struct {
		name    string
		measure func(context.Context, map[string]servebench.Figure) error
	}{{"overhead", b.overhead}, {"throughput", b.throughput}, {"overload", b.overload}} {
		if !slices.Contains(config.Parts, part.name) {
			continue
		}
		if err := part.measure(ctx, figures); err != nil {
			return nil, err
		}
	}
	figures["dispatcher_bench_send_lag_p99_ms"] = servebench.Median("ms",
		"how much later than intended the benchmark itself sent requests, 99th percentile: a value for each measurement at a rate", b.lags, nil)
	return figures, nil
}

// trust looks at how late requests were sent, and says so where it was too late
// for the measurement to be believed.
func (b *bench) trust(what string, samples []sample) phase {
	p := summarize(samples)
	b.lags = append(b.lags, 1000*p.LagP99)
	if p.LagP99 > mostLag.Seconds() {
		b.Progress("%s: 1%% of the requests were sent more than %.0f ms too late: don't trust this round", what, 1000*p.LagP99)
	}
	return p
}

// picture is what begins as a JPEG file does. No one decodes it here.
func picture(size int) []byte {
	body := make([]byte, size)
	source := rand.NewChaCha8([32]byte{})
	_, _ = source.Read(body) // never fails
	copy(body, "\xff\xd8\xff\xe0")
	return body
}

func hasFlag(ctx context.Context, program, flag string) (bool, error) {
	help, err := exec.CommandContext(ctx, program, "--help").Output()
	if err != nil {
		return false, fmt.Errorf("asking %s for its flags: %w", program, err)
	}
	return strings.Contains(string(help), flag), nil
}
