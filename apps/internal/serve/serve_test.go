package serve_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"headroom.dev/apps/internal/serve"
)

var quiet = slog.New(slog.DiscardHandler)

// blocking answers when it is released, and tells when it has a request.
type blocking struct {
	entered, release chan struct{}
}

func (b *blocking) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	close(b.entered)
	<-b.release
	_, _ = io.WriteString(w, "done")
}

type answer struct {
	body string
	err  error
}

func start(t *testing.T, drain time.Duration) (handler *blocking, stop func(), answered chan answer, ended chan error) {
	t.Helper()
	handler = &blocking{entered: make(chan struct{}), release: make(chan struct{})}
	server, err := serve.Listen("test", "127.0.0.1:0", handler)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	answered, ended = make(chan answer, 1), make(chan error, 1)
	go func() { ended <- serve.Run(ctx, quiet, drain, server) }()
	go func() {
		response, err := http.Get("http://" + server.Addr().String())
		if err != nil {
			answered <- answer{err: err}
			return
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		answered <- answer{string(body), err}
	}()
	<-handler.entered
	return handler, cancel, answered, ended
}

func TestWhatIsInFlightIsFinished(t *testing.T) {
	handler, stop, answered, ended := start(t, time.Minute)
	stop()
	select {
	case err := <-ended:
		t.Fatalf("ended with a request in flight: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(handler.release)
	if got := <-answered; got.err != nil || got.body != "done" {
		t.Errorf("got %q, %v", got.body, got.err)
	}
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestWhatTakesTooLongIsCutOff(t *testing.T) {
	handler, stop, answered, ended := start(t, 20*time.Millisecond)
	defer close(handler.release)
	stop()
	const want = "test server: requests still in flight after 20ms were cut off"
	if err := <-ended; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if got := <-answered; got.err == nil {
		t.Errorf("the request was answered: %q", got.body)
	}
}

func TestListenNamesServerAndAddress(t *testing.T) {
	first, err := serve.Listen("first", "127.0.0.1:0", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}()
	address := first.Addr().String()
	_, err = serve.Listen("second", address, http.NotFoundHandler())
	if err == nil || !strings.HasPrefix(err.Error(), `second server can't listen on "`+address+`": `) {
		t.Errorf("got %v", err)
	}
}

// A gRPC call in flight is finished too, and one that outlasts the drain is cut
// off; the health service stands for any.
func TestGRPCIsDrained(t *testing.T) {
	for name, test := range map[string]struct {
		drain time.Duration
		code  codes.Code
		err   string
	}{
		"finished": {time.Minute, codes.OK, ""},
		"cut off":  {10 * time.Millisecond, codes.Unavailable, "calls server: requests still in flight after 10ms were cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			entered, release := make(chan struct{}), make(chan struct{})
			calls := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
				close(entered)
				select {
				case <-release:
				case <-ctx.Done():
				}
				return &healthpb.HealthCheckResponse{}, nil
			}))
			healthpb.RegisterHealthServer(calls, health.NewServer())
			server, err := serve.ListenGRPC("calls", "127.0.0.1:0", calls)
			if err != nil {
				t.Fatal(err)
			}
			metrics, err := serve.Listen("metrics", "127.0.0.1:0", http.NotFoundHandler())
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- serve.Run(ctx, quiet, test.drain, server, metrics) }()
			connection, err := grpc.NewClient(server.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = connection.Close() }()
			answered := make(chan error, 1)
			go func() {
				_, err := healthpb.NewHealthClient(connection).Check(context.Background(), &healthpb.HealthCheckRequest{})
				answered <- err
			}()
			<-entered
			stop()
			if test.code == codes.OK {
				close(release)
			}
			if err := <-answered; status.Code(err) != test.code {
				t.Errorf("the call: %v", err)
			}
			message := ""
			if err := <-ended; err != nil {
				message = err.Error()
			}
			if message != test.err {
				t.Errorf("got %q, want %q", message, test.err)
			}
		})
	}
}
