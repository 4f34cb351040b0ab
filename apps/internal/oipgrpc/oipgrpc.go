// Package oipgrpc serves one model by the gRPC part of the Open Inference
// Protocol, version 2, and answers gRPC health checks. What it has in common
// with the REST part is in package oip.
package oipgrpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"headroom.dev/apps/internal/oip"
	"headroom.dev/apps/internal/oipgrpc/inferencepb"
)

// What one client may do to the server.
const (
	// MaxStreams is how many calls a connection may have open.
	MaxStreams = 256
	// MaxHeaderBytes is the largest metadata of a call.
	MaxHeaderBytes = 32 << 10
	// ConnectionTimeout bounds the handshakes of a new connection.
	ConnectionTimeout = 5 * time.Second
	// MaxIdle is how long a connection without calls stays open.
	MaxIdle = 5 * time.Minute
	// MinPing is the shortest time between two pings of a client; one that
	// pings more often is cut off.
	MinPing = 10 * time.Second
	// maxOthers is how many calls other than those to infer may be open at a time,
	// on all connections. Their messages are small, but gRPC has one limit for
	// those of all methods, so each could hold one of MaxBody bytes. They are not
	// counted against the memory of bodies: health is asked after also where that
	// is used up.
	maxOthers = 8
	// othersTimeout is the longest that one of them may take, with its message.
	othersTimeout = 5 * time.Second
)

// New makes a server that has the service of the protocol and that of health
// checks. A message may have config.MaxBody bytes; config.Hold is asked for as
// many before each call to infer, and not for the few others that there may be at
// a time. log takes the place of config.Log; config.Body is not used. options come
// after the server's own.
func New(config oip.Config, log *slog.Logger, options ...grpc.ServerOption) *grpc.Server {
	config.Log = log
	own := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(int(config.MaxBody)),
		grpc.MaxConcurrentStreams(MaxStreams),
		grpc.MaxHeaderListSize(MaxHeaderBytes),
		grpc.ConnectionTimeout(ConnectionTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: MinPing, PermitWithoutStream: true}),
		// The pings end connections whose client is gone without a word.
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: MaxIdle, Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.InTapHandle(door(config)),
		grpc.ForceServerCodecV2(codec{CodecV2: encoding.GetCodecV2("proto"), limits: newLimits(config.MaxBody)}),
		grpc.ChainUnaryInterceptor(recovery(log)),
	}
	server := grpc.NewServer(append(own, options...)...)
	server.RegisterService(description(), service{config: config})
	healthpb.RegisterHealthServer(server, health{backend: config.Backend})
	return server
}

// door stands before calls, when their message is still to come. Each call to
// infer is counted as a message of the most bytes for as long as it is open; of
// the others so many are let in at a time. Those whose message and answer together
// take longer than the timeout are ended.
func door(config oip.Config) tap.ServerInHandle {
	infer := func() (release func(), err error) {
		if config.Hold == nil {
			return func() {}, nil
		}
		return config.Hold(config.MaxBody)
	}
	var open atomic.Int64
	other := func() (release func(), err error) {
		release = func() { open.Add(-1) }
		if open.Add(1) > maxOthers {
			release()
			return nil, fmt.Errorf("%d calls that are not to infer are open, the most that is accepted", maxOthers)
		}
		return release, nil
	}
	return func(ctx context.Context, info *tap.Info) (context.Context, error) {
		enter, timeout := other, min(config.Timeout, othersTimeout)
		if info.FullMethodName == inferencepb.GRPCInferenceService_ModelInfer_FullMethodName {
			enter, timeout = infer, config.Timeout
		}
		release, err := enter()
		if err != nil {
			return nil, status.Error(codes.Unavailable, err.Error())
		}
		bounded, cancel := context.WithTimeout(ctx, timeout)
		// ctx ends with the call, however that ends.
		context.AfterFunc(ctx, func() {
			cancel()
			release()
		})
		return bounded, nil
	}
}

// recovery turns a panic of a handler into Internal.
func recovery(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (response any, err error) {
		defer func() {
			if p := recover(); p != nil {
				log.Error("handler panicked", "method", info.FullMethod, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				response, err = nil, status.Error(codes.Internal, "the server failed on this request; its log says why")
			}
		}()
		return handle(ctx, request)
	}
}

// service is the protocol's service.
type service struct {
	inferencepb.UnimplementedGRPCInferenceServiceServer
	config oip.Config
}

func (s service) ServerLive(context.Context, *inferencepb.ServerLiveRequest) (*inferencepb.ServerLiveResponse, error) {
	return &inferencepb.ServerLiveResponse{Live: s.config.Backend.Live()}, nil
}

func (s service) ServerReady(context.Context, *inferencepb.ServerReadyRequest) (*inferencepb.ServerReadyResponse, error) {
	return &inferencepb.ServerReadyResponse{Ready: s.config.Backend.Ready()}, nil
}

// ModelReady answers for a model that is not loaded yet as well: any name may
// become its own.
func (s service) ModelReady(_ context.Context, in *inferencepb.ModelReadyRequest) (*inferencepb.ModelReadyResponse, error) {
	_, _, err := s.config.Find(in.GetName(), in.GetVersion())
	if err = asStatus(err); err != nil && status.Code(err) != codes.Unavailable {
		return nil, err
	}
	return &inferencepb.ModelReadyResponse{Ready: err == nil && s.config.Backend.Ready()}, nil
}

func (s service) ServerMetadata(context.Context, *inferencepb.ServerMetadataRequest) (*inferencepb.ServerMetadataResponse, error) {
	return &inferencepb.ServerMetadataResponse{Name: s.config.Name, Version: s.config.Version, Extensions: oip.Extensions}, nil
}

func (s service) ModelMetadata(_ context.Context, in *inferencepb.ModelMetadataRequest) (*inferencepb.ModelMetadataResponse, error) {
	model, _, err := s.config.Find(in.GetName(), in.GetVersion())
	if err != nil {
		return nil, asStatus(err)
	}
	return &inferencepb.ModelMetadataResponse{
		Name: model.Name, Versions: model.Versions, Platform: model.Platform,
		Inputs: describe(model.Inputs), Outputs: describe(model.Outputs),
	}, nil
}

func describe(tensors []oip.TensorMetadata) []*inferencepb.ModelMetadataResponse_TensorMetadata {
	described := make([]*inferencepb.ModelMetadataResponse_TensorMetadata, len(tensors))
	for i, t := range tensors {
		described[i] = &inferencepb.ModelMetadataResponse_TensorMetadata{Name: t.Name, Datatype: string(t.Datatype), Shape: t.Shape}
	}
	return described
}

func (s service) ModelInfer(ctx context.Context, in *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
	terms, err := s.config.Begin(ctx, header(ctx))
	if err != nil {
		return nil, asStatus(err)
	}
	request, err := decode(in)
	if err != nil {
		return nil, asStatus(err)
	}
	response, err := s.config.Infer(ctx, terms, request)
	if err != nil {
		return nil, asStatus(err)
	}
	return encode(response, len(in.GetRawInputContents()) > 0), nil
}

// header is the call's metadata as HTTP's headers, whose names are the same
// but for the case of their letters.
func header(ctx context.Context) http.Header {
	header := http.Header{}
	received, _ := metadata.FromIncomingContext(ctx)
	for key, values := range received {
		for _, value := range values {
			header.Add(key, value)
		}
	}
	return header
}

// asStatus is an error of package oip as gRPC has it; nil stays nil.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	code := codes.Internal
	var refused *oip.Error
	if errors.As(err, &refused) {
		switch {
		case refused.Status == http.StatusNotFound:
			code = codes.NotFound
		case refused.Status == http.StatusServiceUnavailable:
			code = codes.Unavailable
		case refused.Status == http.StatusGatewayTimeout:
			code = codes.DeadlineExceeded
		case refused.Status < http.StatusInternalServerError:
			code = codes.InvalidArgument
		}
	}
	return status.Error(code, err.Error())
}

// health answers the standard health checks, for the server as a whole and
// for the protocol's service.
type health struct {
	healthpb.UnimplementedHealthServer
	backend oip.Backend
}

func (h health) Check(_ context.Context, in *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if name := in.GetService(); name != "" && name != inferencepb.GRPCInferenceService_ServiceDesc.ServiceName {
		return nil, status.Errorf(codes.NotFound, "there is no service %.64q; there is %q", name, inferencepb.GRPCInferenceService_ServiceDesc.ServiceName)
	}
	if !h.backend.Ready() {
		return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}, nil
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}
