package dispatchbench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headroom.dev/apps/internal/servebench"
)

// databases are those that Redis has; each subject has its own.
const databases = 64

// startRedis starts a Redis with the flags of the one in the cluster.
func (b *bench) startRedis(ctx context.Context) (*process, error) {
	addresses, err := servebench.FreeAddresses(1)
	if err != nil {
		return nil, fmt.Errorf("finding a port for Redis: %w", err)
	}
	b.redis = addresses[0]
	_, port, err := net.SplitHostPort(b.redis)
	if err != nil {
		return nil, err
	}
	p, err := b.start("redis-server", "", "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", b.Folder, "--databases", strconv.Itoa(databases),
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory", "256mb", "--maxmemory-policy", "noeviction")
	if err != nil {
		return nil, err
	}
	return p, p.awaitOrStop(ctx, func() bool { return answersPing(b.redis) })
}

func answersPing(address string) bool {
	connection, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	if _, err := io.WriteString(connection, "PING\r\n"); err != nil {
		return false
	}
	answer := make([]byte, len("+PONG\r\n"))
	_, err = io.ReadFull(connection, answer)
	return err == nil && string(answer) == "+PONG\r\n"
}

// startStub starts model servers, in one process, that do nothing but what
// flags say, and returns their URLs.
func (b *bench) startStub(ctx context.Context, servers int, flags ...string) (*process, []string, error) {
	addresses, err := servebench.FreeAddresses(servers)
	if err != nil {
		return nil, nil, fmt.Errorf("finding ports for model servers: %w", err)
	}
	args := append([]string{"stub"}, flags...)
	urls := make([]string, servers)
	for i, address := range addresses {
		args = append(args, "--listen", address)
		urls[i] = "http://" + address + "/"
	}
	p, err := b.start("stub", "", b.Self, args...)
	if err != nil {
		return nil, nil, err
	}
	return p, urls, p.awaitOrStop(ctx, func() bool {
		for _, url := range urls {
			if _, ok := b.get(ctx, url+"readyz"); !ok {
				return false
			}
		}
		return true
	})
}

// get is the body of a 200.
func (b *bench) get(ctx context.Context, url string) (body string, ok bool) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", false
	}
	response, err := b.client.Do(request)
	if err != nil {
		return "", false
	}
	text, err := io.ReadAll(response.Body)
	err = errors.Join(err, response.Body.Close())
	return string(text), err == nil && response.StatusCode == http.StatusOK
}

// variant is a way to run the dispatcher.
type variant struct {
	// name is what its figures begin with, what is what they add to their words.
	name, what string
	flags      []string
}

// variants are the dispatcher as it comes, and with every request going the way
// through the queue where that can be told.
func (b *bench) variants() []variant {
	all := []variant{{name: "dispatcher"}}
	if b.queued {
		all = append(all, variant{name: "dispatcher_queued", what: ", each through the queue in Redis", flags: []string{"--no-direct"}})
	}
	return all
}

// dispatcher is one that runs.
type dispatcher struct {
	*process
	query string // URL
}

// startDispatcher starts a dispatcher that has model servers at urls.
func (b *bench) startDispatcher(ctx context.Context, v variant, urls []string, flags ...string) (*dispatcher, error) {
	addresses, err := servebench.FreeAddresses(2)
	if err != nil {
		return nil, fmt.Errorf("finding ports for the dispatcher: %w", err)
	}
	args := []string{
		"--redis", fmt.Sprintf("redis://%s/%d", b.redis, b.database()), "--backends", strings.Join(urls, ","),
		"--listen", addresses[0], "--metrics-listen", addresses[1],
	}
	p, err := b.start(v.name, b.SubjectCPUs, b.Program, append(append(args, flags...), v.flags...)...)
	if err != nil {
		return nil, err
	}
	known := fmt.Sprintf("\ndispatcher_replicas{state=\"ready\"} %d\n", len(urls))
	return &dispatcher{process: p, query: "http://" + addresses[0] + "/query"}, p.awaitOrStop(ctx, func() bool {
		metrics, ok := b.get(ctx, "http://"+addresses[1]+"/metrics")
		if !ok || !strings.Contains(metrics, known) {
			return false
		}
		_, ok = b.get(ctx, "http://"+addresses[0]+"/readyz")
		return ok
	})
}

// startDispatchers starts one of each variant; stop ends them.
func (b *bench) startDispatchers(ctx context.Context, urls []string, flags ...string) (all []*dispatcher, stop func(), err error) {
	stop = func() {
		for _, d := range all {
			d.stop()
		}
	}
	for _, v := range b.variants() {
		d, err := b.startDispatcher(ctx, v, urls, flags...)
		if err != nil {
			stop()
			return nil, nil, err
		}
		all = append(all, d)
	}
	return all, stop, nil
}

// database is the number of one in Redis that nobody else has.
func (b *bench) database() int {
	b.databases++
	return b.databases
}

// peer has asynqbench do something on the subject's cores.
func (b *bench) peer(ctx context.Context, database int, args ...string) (work, error) {
	what := "asynqbench " + strings.Join(args, " ")
	c := command(ctx, b.SubjectCPUs, b.Peers, append(args, "--redis", b.redis, "--db", strconv.Itoa(database), "--payload", b.payload)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	text, err := c.Output()
	if ctx.Err() != nil {
		return work{}, context.Cause(ctx)
	}
	if err != nil {
		return work{}, fmt.Errorf("%s: %w: %s", what, err, bytes.TrimSpace(stderr.Bytes()))
	}
	var w work
	if err := json.Unmarshal(text, &w); err != nil {
		return work{}, fmt.Errorf("%s printed %q: %w", what, text, err)
	}
	return w, nil
}
