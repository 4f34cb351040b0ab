package oipgrpc_test

import (
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"headroom.dev/apps/internal/oip"
	"headroom.dev/apps/internal/oipgrpc"
	"headroom.dev/apps/internal/oipgrpc/inferencepb"
)

// Calls whose message never comes hold no more places than there are, and none
// for longer than the timeout.
func TestCallsThatStall(t *testing.T) {
	const timeout = 300 * time.Millisecond
	server := oipgrpc.New(oip.Config{
		Backend: tiny(oip.FP32, oip.FP32, floats), MaxBody: limit, MaxRows: 4, MaxCalls: 2, Timeout: timeout,
	}, slog.New(slog.DiscardHandler))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	client := inferencepb.NewGRPCInferenceServiceClient(connection)
	infer := func() error {
		_, err := client.ModelInfer(t.Context(), request([][]byte{[]byte(floats[:8])}, input("FP32", nil, 1, 2)))
		return err
	}

	var stalled []grpc.ClientStream
	for range 2 {
		stream, err := connection.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, inferencepb.GRPCInferenceService_ModelInfer_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		stalled = append(stalled, stream)
	}
	wantStatus(t, infer(), codes.Unavailable, "2 calls are open, the most that is accepted")
	if live, err := client.ServerLive(t.Context(), &inferencepb.ServerLiveRequest{}); err != nil || !live.GetLive() {
		t.Errorf("beside them: %v, %v", live, err)
	}
	begin := time.Now()
	for _, stream := range stalled {
		if err := stream.RecvMsg(&inferencepb.ModelInferResponse{}); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("a call without a message: %v", err)
		}
	}
	if waited := time.Since(begin); waited > 10*timeout {
		t.Errorf("they were ended after %v", waited)
	}
	// What counts them down is told at the same time as they are.
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if err = infer(); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
