package oipgrpc_test

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"headroom.dev/apps/internal/oip"
	"headroom.dev/apps/internal/oipgrpc"
	"headroom.dev/apps/internal/oipgrpc/inferencepb"
)

// stall begins calls of methods that never send their messages.
func stall(t *testing.T, connection *grpc.ClientConn, methods ...string) []grpc.ClientStream {
	t.Helper()
	var stalled []grpc.ClientStream
	for _, method := range methods {
		stream, err := connection.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, method)
		if err != nil {
			t.Fatal(err)
		}
		stalled = append(stalled, stream)
	}
	return stalled
}

// wantTimeout wants calls without a message to be ended about timeout after begin.
func wantTimeout(t *testing.T, stalled []grpc.ClientStream, begin time.Time, timeout time.Duration) {
	t.Helper()
	for _, stream := range stalled {
		if err := stream.RecvMsg(&inferencepb.ModelInferResponse{}); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("a call without a message: %v", err)
		}
	}
	if waited := time.Since(begin); waited < timeout/2 || waited > timeout+5*time.Second {
		t.Errorf("they were ended after %v, want %v", waited, timeout)
	}
}

// wantSoon repeats a call until it is let in. What counts the ended ones down is
// told at the same time as their clients are.
func wantSoon(t *testing.T, call func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if err = call(); err == nil {
			return
		}
	}
	t.Errorf("afterwards: %v", err)
}

// Calls to infer whose message never comes hold the memory of one each, and none
// for longer than the timeout.
func TestCallsThatStall(t *testing.T) {
	const timeout = 300 * time.Millisecond
	var held atomic.Int64
	connection := connectTo(t, oipgrpc.New(oip.Config{
		Backend: tiny(oip.FP32, oip.FP32, floats), MaxBody: limit, MaxRows: 4, Timeout: timeout,
		Hold: func(n int64) (func(), error) {
			if held.Add(n) > 2*limit {
				held.Add(-n)
				return nil, errors.New("the memory is full")
			}
			return func() { held.Add(-n) }, nil
		},
	}, slog.New(slog.DiscardHandler)))
	client := inferencepb.NewGRPCInferenceServiceClient(connection)
	infer := func() error {
		_, err := client.ModelInfer(t.Context(), request([][]byte{[]byte(floats[:8])}, input("FP32", nil, 1, 2)))
		return err
	}

	begin := time.Now()
	stalled := stall(t, connection, inferencepb.GRPCInferenceService_ModelInfer_FullMethodName, inferencepb.GRPCInferenceService_ModelInfer_FullMethodName)
	wantStatus(t, infer(), codes.Unavailable, "the memory is full")
	if live, err := client.ServerLive(t.Context(), &inferencepb.ServerLiveRequest{}); err != nil || !live.GetLive() {
		t.Errorf("beside them: %v, %v", live, err)
	}
	wantTimeout(t, stalled, begin, timeout)
	wantSoon(t, infer)
	wantSoon(t, func() error {
		if n := held.Load(); n != 0 {
			return errors.New("memory is held for no call")
		}
		return nil
	})
}

// The same for the other calls, which hold one of 8 places for 5 seconds at most.
func TestOtherCallsThatStall(t *testing.T) {
	connection := connectTo(t, oipgrpc.New(oip.Config{
		Backend: tiny(oip.FP32, oip.FP32, floats), MaxBody: limit, MaxRows: 4, Timeout: time.Minute,
	}, slog.New(slog.DiscardHandler)))
	check := func() error {
		_, err := healthpb.NewHealthClient(connection).Check(t.Context(), &healthpb.HealthCheckRequest{})
		return err
	}
	const full = "8 calls that are not to infer are open, the most that is accepted"

	begin := time.Now()
	stalled := stall(t, connection,
		healthpb.Health_Check_FullMethodName, healthpb.Health_Check_FullMethodName, healthpb.Health_Watch_FullMethodName,
		inferencepb.GRPCInferenceService_ServerLive_FullMethodName, inferencepb.GRPCInferenceService_ServerReady_FullMethodName,
		inferencepb.GRPCInferenceService_ServerMetadata_FullMethodName, inferencepb.GRPCInferenceService_ModelReady_FullMethodName,
		inferencepb.GRPCInferenceService_ModelMetadata_FullMethodName)
	wantStatus(t, check(), codes.Unavailable, full)
	client := inferencepb.NewGRPCInferenceServiceClient(connection)
	_, err := client.ModelReady(t.Context(), &inferencepb.ModelReadyRequest{Name: "tiny"})
	wantStatus(t, err, codes.Unavailable, full)
	if _, err := client.ModelInfer(t.Context(), request([][]byte{[]byte(floats[:8])}, input("FP32", nil, 1, 2))); err != nil {
		t.Errorf("to infer beside them: %v", err)
	}
	wantTimeout(t, stalled, begin, 5*time.Second)
	wantSoon(t, check)
}
