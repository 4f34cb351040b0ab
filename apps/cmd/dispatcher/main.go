// Command dispatcher takes pictures to classify, queues them in Redis, hands
// them to the model servers as these have room, and answers within the
// promised time. Two more commands of it look after what it keeps: dead letters
// and API keys.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/uuid"

	"headroom.dev/apps/internal/apikeys"
	"headroom.dev/apps/internal/backend"
	"headroom.dev/apps/internal/command"
	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/endpoints"
	"headroom.dev/apps/internal/fleet"
	"headroom.dev/apps/internal/queryapi"
	"headroom.dev/apps/internal/redisqueue"
	"headroom.dev/apps/internal/relay"
	"headroom.dev/apps/internal/serve"
	"headroom.dev/apps/internal/tracing"
	"headroom.dev/apps/internal/wake"
)

const (
	// probeEvery is the time between two probes of a replica from --backends.
	probeEvery = time.Second
	// listEvery is the time between two looks at the list of --backends-file.
	listEvery = 100 * time.Millisecond
	// keysEvery is the time between two looks at the file of API keys.
	keysEvery = 5 * time.Second
	// lastAnswer is how long before connections are cut those who still wait
	// are told: net/http looks every half second for connections that are done.
	lastAnswer = 750 * time.Millisecond
	// gcPercent is by how much memory may grow before garbage is collected, four
	// times as much as Go's own: a request costs about a tenth less CPU.
	gcPercent = 400
	// idleConnections are kept open to each replica at least.
	idleConnections = 4
)

type options struct {
	queueOptions          `embed:""`
	RedisWait             time.Duration `env:"REDIS_WAIT" default:"30s" help:"How long to wait for Redis at the start, 0s to 1h."`
	RedisConnections      int           `env:"REDIS_CONNECTIONS" default:"64" help:"Most connections to Redis for taking requests, and as many for working on them, 4 to 4096."`
	Backends              []string      `env:"BACKENDS" placeholder:"URL" help:"Base URLs of the model servers, separated by commas; each is probed at /readyz. Either this, --backends-file or --endpoints-of."`
	BackendsFile          string        `env:"BACKENDS_FILE" placeholder:"FILE" help:"List of the model servers and their states, as a scaler of processes writes it, in the format of Prometheus' file_sd; it is followed, and may come later. Either this, --backends or --endpoints-of."`
	EndpointsOf           string        `env:"ENDPOINTS_OF" placeholder:"NAMESPACE/SERVICE" help:"Kubernetes Service whose endpoints are the model servers. Either this, --backends or --backends-file."`
	EndpointsPortName     string        `env:"ENDPOINTS_PORT_NAME" default:"http" help:"Name of that Service's port."`
	Kubeconfig            string        `env:"KUBECONFIG" placeholder:"FILE" help:"Cluster to find the Service in. Default: the one that this program runs in."`
	Listen                string        `env:"LISTEN" default:":5001" help:"Address for requests and probes, host:port."`
	MetricsListen         string        `env:"METRICS_LISTEN" default:":8000" help:"Address for /metrics, host:port."`
	SLO                   time.Duration `name:"slo" env:"SLO" default:"500ms" help:"Promised latency: how long a request may take whose caller says nothing else, 1ms to 1m."`
	ColdStartAllowance    time.Duration `env:"COLD_START_ALLOWANCE" default:"0s" help:"How long a request whose caller waits and says nothing else may take at least where no model server is ready, so that one can start, 0s (off) to 10m."`
	Wake                  string        `env:"WAKE" placeholder:"URL" help:"Where to ask for a model server, as a POST to each address of the host, while requests wait and none is ready; needs --cold-start-allowance. Default: nowhere."`
	APIKeys               string        `name:"api-keys" env:"API_KEYS" placeholder:"FILE" help:"API keys of which callers need one; see 'dispatcher api-key'. Default: everybody may call."`
	BackendConcurrency    int           `env:"BACKEND_CONCURRENCY" default:"1" help:"Requests that each model server is sent at a time, 1 to 1024."`
	MaxBackendConcurrency int           `env:"MAX_BACKEND_CONCURRENCY" default:"0" help:"Most that it is sent where measuring shows that it has no more waiting for it, up to 1024; 0 for twice --backend-concurrency."`
	AttemptTimeout        time.Duration `env:"ATTEMPT_TIMEOUT" default:"10s" help:"Longest that one attempt at a model server may take, 10ms to 10m; the request's deadline may be earlier."`
	Direct                bool          `env:"DIRECT" default:"true" negatable:"" help:"Let a request whose caller waits go straight to a free model server while the queue is empty."`
	MaxQueue              int           `env:"MAX_QUEUE" default:"200" help:"Requests that may wait before another one, which is refused else, 1 to 100000; those of a lower priority wait behind it."`
	AsyncTimeout          time.Duration `env:"ASYNC_TIMEOUT" default:"60s" help:"How long an asynchronous request may take, 1s to 1h."`
	ResultTTL             time.Duration `env:"RESULT_TTL" default:"10m" help:"How long an asynchronous result is kept, 1s to 24h."`
	ReclaimAfter          time.Duration `env:"RECLAIM_AFTER" default:"5s" help:"How long another dispatcher may be silent about a request that it has taken before this one takes it over, 1s to 5m."`
	MaxDeliveries         int           `env:"MAX_DELIVERIES" default:"3" help:"How many dispatchers may fall silent over a request before it is a dead letter, 1 to 100."`
	DeadLetterBytes       int64         `env:"DEAD_LETTER_BYTES" default:"67108864" help:"Memory in Redis for dead letters in bytes, 0 to 1099511627776; the oldest go first, the newest stays."`
	MaxBody               int64         `env:"MAX_BODY" default:"10485760" help:"Largest request body in bytes, 1024 to 1073741824."`
	MaxPictureMemory      int64         `env:"MAX_PICTURE_MEMORY" default:"268435456" help:"Bytes of all bodies that are being read and all pictures whose callers wait, 1048576 to 1099511627776 and at least --max-body; more are refused."`
	DrainDelay            time.Duration `env:"DRAIN_DELAY" default:"1s" help:"After SIGTERM: time for others to see that this dispatcher is not ready, while it still serves, 0s to 5m."`
	Drain                 time.Duration `env:"DRAIN" default:"10s" help:"After that: longest wait for requests in flight, 0s to 10m."`
	Traces                tracing.Flags `embed:""`
	LogLevel              slog.Level    `env:"LOG_LEVEL" default:"info" help:"Least level that is logged: debug, info, warn or error."`
}

// Validate is called by kong.
func (o *options) Validate() error {
	for _, r := range []struct {
		flag            string
		value, from, to int64
	}{
		{"--redis-connections", int64(o.RedisConnections), 4, 4096},
		{"--backend-concurrency", int64(o.BackendConcurrency), 1, 1024},
		{"--max-backend-concurrency", int64(o.MaxBackendConcurrency), 0, 1024},
		{"--max-queue", int64(o.MaxQueue), 1, 100_000},
		{"--max-deliveries", int64(o.MaxDeliveries), 1, 100},
		{"--dead-letter-bytes", o.DeadLetterBytes, 0, 1 << 40},
		{"--max-body", o.MaxBody, 1024, 1 << 30},
		{"--max-picture-memory", o.MaxPictureMemory, max(o.MaxBody, 1<<20), 1 << 40},
	} {
		if r.value < r.from || r.value > r.to {
			return fmt.Errorf("%s is %d; allowed: %d to %d", r.flag, r.value, r.from, r.to)
		}
	}
	if most := o.MaxBackendConcurrency; most != 0 && most < o.BackendConcurrency {
		return fmt.Errorf("--max-backend-concurrency is %d; allowed: 0, or --backend-concurrency (%d) to 1024", most, o.BackendConcurrency)
	}
	for _, r := range []struct {
		flag            string
		value, from, to time.Duration
	}{
		{"--redis-wait", o.RedisWait, 0, time.Hour},
		{"--slo", o.SLO, queryapi.MinTimeout, queryapi.MaxTimeout},
		{"--cold-start-allowance", o.ColdStartAllowance, 0, 10 * time.Minute},
		{"--attempt-timeout", o.AttemptTimeout, 10 * time.Millisecond, 10 * time.Minute},
		{"--async-timeout", o.AsyncTimeout, time.Second, time.Hour},
		{"--result-ttl", o.ResultTTL, time.Second, 24 * time.Hour},
		{"--reclaim-after", o.ReclaimAfter, time.Second, 5 * time.Minute},
		{"--drain-delay", o.DrainDelay, 0, 5 * time.Minute},
		{"--drain", o.Drain, 0, 10 * time.Minute},
	} {
		if r.value < r.from || r.value > r.to {
			return fmt.Errorf("%s is %v; allowed: %v to %v", r.flag, r.value, r.from, r.to)
		}
	}
	for _, address := range []struct{ flag, value string }{{"--listen", o.Listen}, {"--metrics-listen", o.MetricsListen}} {
		if _, _, err := net.SplitHostPort(address.value); err != nil {
			return fmt.Errorf("%s is %q; allowed: host:port or :port", address.flag, address.value)
		}
	}
	if o.Wake != "" {
		if _, err := wake.ParseURL(o.Wake); err != nil {
			return fmt.Errorf("--wake %w", err)
		}
		if o.ColdStartAllowance == 0 {
			return fmt.Errorf("--wake is %q and --cold-start-allowance is 0s; allowed with --wake: more than 0s, up to 10m0s", o.Wake)
		}
	}
	if err := o.Traces.Check(); err != nil {
		return err
	}
	var ways []string
	for _, way := range []struct {
		flag  string
		given bool
	}{{"--backends", len(o.Backends) > 0}, {"--backends-file", o.BackendsFile != ""}, {"--endpoints-of", o.EndpointsOf != ""}} {
		if way.given {
			ways = append(ways, way.flag)
		}
	}
	switch {
	case len(ways) == 0:
		return errors.New("none of --backends, --backends-file and --endpoints-of is given; allowed: exactly one of them")
	case len(ways) > 1:
		return fmt.Errorf("%s are given; allowed: exactly one of them", strings.Join(ways, " and "))
	case o.BackendsFile != "":
	case o.EndpointsOf != "":
		if _, err := endpoints.ParseService(o.EndpointsOf); err != nil {
			return fmt.Errorf("--endpoints-of %q %w", o.EndpointsOf, err)
		}
	default:
		if _, err := endpoints.ParseURLs(o.Backends); err != nil {
			return fmt.Errorf("--backends: %w", err)
		}
	}
	return nil
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case deadLettersCommand:
			return runDeadLetters(args[1:], stdout, stderr)
		case apiKeyCommand:
			return runAPIKey(args[1:], stdout, stderr)
		}
	}
	var o options
	return command.Run("dispatcher", "Takes pictures to classify (POST /query), queues them in Redis, and hands them to the model servers. "+
		"'dispatcher dead-letters --help' is about requests that it gave up, 'dispatcher api-key --help' about keys for callers.",
		&o, args, stdout, stderr, func(*kong.Context) error { return begin(o, stderr) })
}

// begin puts the parts together and dispatches until it is told to stop.
func begin(o options, stderr io.Writer) error {
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: o.LogLevel}))
	if os.Getenv("GOGC") == "" {
		// Little is kept and much comes and goes: pictures.
		debug.SetGCPercent(gcPercent)
	}
	name, err := dispatcherName()
	if err != nil {
		return err
	}
	redisqueue.UseLogger(log)
	queue, err := o.queue(redisqueue.Config{
		Name: name, ResultTTL: o.ResultTTL, Connections: o.RedisConnections, DeadLetterBytes: o.DeadLetterBytes,
	})
	if err != nil {
		return err
	}
	defer func() { _ = queue.Close() }()
	var keys *apikeys.Keys
	if o.APIKeys != "" {
		if keys, err = apikeys.Open(o.APIKeys); err != nil {
			return command.AsUsage(fmt.Errorf("--api-keys: %w", err))
		}
	}
	replicas := fleet.New(o.bounds())
	follow, err := source(o, replicas, log)
	if err != nil {
		return command.AsUsage(err)
	}
	traces, err := o.Traces.Start("dispatcher", command.Version(), log)
	if err != nil {
		return err
	}
	defer traces.Finish(log)
	return dispatchRequests(o, parts{name, queue, keys, replicas, follow, traces}, log)
}

// dispatcherName is one that no other dispatcher has, this one's next start
// included: what it leaves in the queue is another's.
func dispatcherName() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("finding the host's name: %w", err)
	}
	return host + "-" + uuid.NewString()[:8], nil
}

// bounds are those of what a model server is sent at a time.
func (o *options) bounds() dispatch.Bounds {
	most := o.MaxBackendConcurrency
	if most == 0 {
		most = min(2*o.BackendConcurrency, 1024)
	}
	return dispatch.Bounds{Least: o.BackendConcurrency, Most: most}
}

// source is what keeps replicas up to date until its context ends.
func source(o options, replicas *fleet.Fleet, log *slog.Logger) (func(context.Context) error, error) {
	if o.BackendsFile != "" {
		return func(ctx context.Context) error {
			endpoints.FollowFile(ctx, o.BackendsFile, listEvery, log, replicas.Set)
			return nil
		}, nil
	}
	if o.EndpointsOf == "" {
		urls, err := endpoints.ParseURLs(o.Backends)
		if err != nil {
			return nil, fmt.Errorf("--backends: %w", err)
		}
		return func(ctx context.Context) error {
			endpoints.Probe(ctx, urls, probeEvery, replicas.Set)
			return nil
		}, nil
	}

	service, err := endpoints.ParseService(o.EndpointsOf)
	if err != nil {
		return nil, fmt.Errorf("--endpoints-of %q %w", o.EndpointsOf, err)
	}
	service.Port = o.EndpointsPortName
	endpoints.UseLogger(log)
	client, err := endpoints.Client(o.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--endpoints-of %q, --kubeconfig %q: no cluster to ask: %w", o.EndpointsOf, o.Kubeconfig, err)
	}
	return func(ctx context.Context) error {
		return endpoints.Watch(ctx, client, service, log, replicas.Set)
	}, nil
}

// waker is what asks for a model server; nil where nothing is to.
func waker(o options, log *slog.Logger) (func(context.Context) (ok, failed int), error) {
	if o.Wake == "" {
		return nil, nil
	}
	u, err := wake.ParseURL(o.Wake)
	if err != nil {
		return nil, fmt.Errorf("--wake %w", err)
	}
	return wake.New(u, log).Call, nil
}

// parts are what a dispatcher is put together from.
type parts struct {
	name     string
	queue    *redisqueue.Queue
	keys     *apikeys.Keys // nil for none
	replicas *fleet.Fleet
	follow   func(context.Context) error // keeps replicas up to date
	traces   *tracing.Tracing
}

// dispatchRequests listens, connects to Redis, serves, and drains on SIGTERM
// or SIGINT. A second signal ends the process at once.
func dispatchRequests(o options, p parts, log *slog.Logger) error {
	signals, stopSignals := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stopSignals()
	context.AfterFunc(signals, stopSignals)

	client := backend.New(max(idleConnections, o.bounds().Most))
	defer client.Close()
	waking, err := waker(o, log)
	if err != nil {
		return err
	}
	engine := relay.New(relay.Config{
		Name: p.name, Wake: waking, MaxQueue: o.MaxQueue, ReclaimAfter: o.ReclaimAfter,
		MaxDeliveries: o.MaxDeliveries, AttemptTimeout: o.AttemptTimeout, Direct: o.Direct, Tracing: p.traces,
	}, p.queue, p.replicas, client, log)
	api := queryapi.New(queryapi.Config{
		SLO: o.SLO, ColdStart: o.ColdStartAllowance, AsyncTimeout: o.AsyncTimeout, MaxBody: o.MaxBody, MaxMemory: o.MaxPictureMemory, Keys: p.keys, Tracing: p.traces,
	}, engine, log)

	apiServer, err := serve.Listen("request", o.Listen, api.Handler())
	if err != nil {
		return err
	}
	metricsServer, err := serve.Listen("metrics", o.MetricsListen, engine.Metrics().Handler())
	if err != nil {
		return errors.Join(err, apiServer.Close())
	}

	serving, stopServing := context.WithCancelCause(context.WithoutCancel(signals))
	defer stopServing(nil)
	following, stopFollowing := context.WithCancel(context.WithoutCancel(signals))
	defer stopFollowing()
	var background sync.WaitGroup
	background.Go(func() {
		if err := p.follow(following); err != nil && following.Err() == nil {
			stopServing(err)
		}
	})
	if p.keys != nil {
		background.Go(func() { p.keys.Follow(following, keysEvery, log) })
	}
	connecting, stopConnecting := context.WithCancel(signals)
	defer stopConnecting()
	started := make(chan bool, 1)
	background.Go(func() {
		if err := p.queue.Connect(connecting, o.RedisWait, log); err != nil {
			if connecting.Err() == nil {
				stopServing(err)
			}
			started <- false
			return
		}
		engine.Start()
		api.Ready()
		log.Info("ready", "redis", p.queue.Address(), "name", p.name)
		started <- true
	})
	// drained ends when nothing may be waited for any more.
	drained, stopDraining := context.WithCancel(context.Background())
	defer stopDraining()
	context.AfterFunc(signals, func() {
		api.Drain()
		log.Info("draining", "delay_s", o.DrainDelay.Seconds(), "limit_s", o.Drain.Seconds())
		time.AfterFunc(o.DrainDelay, func() { stopServing(nil) })
		time.AfterFunc(o.DrainDelay+max(0, o.Drain-lastAnswer), engine.GiveUp)
		time.AfterFunc(o.DrainDelay+o.Drain, stopDraining)
	})

	err = serve.Run(serving, log, o.Drain, apiServer, metricsServer)
	if cause := context.Cause(serving); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	if signals.Err() == nil {
		// Something failed: nothing is waited for any more.
		stopDraining()
	}
	stopConnecting()
	if <-started {
		engine.Stop(drained)
	}
	stopFollowing()
	background.Wait()
	if err == nil {
		log.Info("drained")
	}
	return err
}
