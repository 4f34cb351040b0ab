package policy

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// engine is as much of Pulumi's as a program needs: it has the transforms look
// at every resource, and accepts it.
type engine struct {
	pulumirpc.UnimplementedResourceMonitorServer
	pulumirpc.UnimplementedEngineServer

	mu         sync.Mutex
	transforms []*pulumirpc.Callback
	made       []string // names of resources
	said       []string // severity and message
}

func (e *engine) SupportsFeature(context.Context, *pulumirpc.SupportsFeatureRequest) (*pulumirpc.SupportsFeatureResponse, error) {
	return &pulumirpc.SupportsFeatureResponse{HasSupport: true}, nil
}

func (e *engine) RegisterStackTransform(_ context.Context, callback *pulumirpc.Callback) (*emptypb.Empty, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.transforms = append(e.transforms, callback)
	return &emptypb.Empty{}, nil
}

func (e *engine) RegisterResource(ctx context.Context, in *pulumirpc.RegisterResourceRequest) (*pulumirpc.RegisterResourceResponse, error) {
	object := in.GetObject()
	e.mu.Lock()
	transforms := slices.Clone(e.transforms)
	e.mu.Unlock()
	for _, callback := range transforms {
		out, err := e.call(ctx, callback, &pulumirpc.TransformRequest{
			Type: in.GetType(), Name: in.GetName(), Custom: in.GetCustom(), Parent: in.GetParent(),
			Properties: object, Options: &pulumirpc.TransformResourceOptions{},
		})
		if err != nil {
			return nil, err
		}
		if out.Properties != nil {
			object = out.Properties
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if in.GetCustom() {
		e.made = append(e.made, in.GetName())
	}
	if object == nil {
		object = &structpb.Struct{}
	}
	return &pulumirpc.RegisterResourceResponse{Urn: "urn:pulumi:test::test::" + in.GetType() + "::" + in.GetName(), Id: "id", Object: object}, nil
}

func (e *engine) call(ctx context.Context, callback *pulumirpc.Callback, request proto.Message) (*pulumirpc.TransformResponse, error) {
	conn, err := grpc.NewClient(callback.GetTarget(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	content, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	reply, err := pulumirpc.NewCallbacksClient(conn).Invoke(ctx, &pulumirpc.CallbackInvokeRequest{Token: callback.GetToken(), Request: content})
	if err != nil {
		return nil, err
	}
	var out pulumirpc.TransformResponse
	return &out, proto.Unmarshal(reply.GetResponse(), &out)
}

func (e *engine) RegisterResourceOutputs(context.Context, *pulumirpc.RegisterResourceOutputsRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (e *engine) SignalAndWaitForShutdown(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (e *engine) Log(_ context.Context, in *pulumirpc.LogRequest) (*emptypb.Empty, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.said = append(e.said, fmt.Sprintf("%v %s", in.GetSeverity(), in.GetMessage()))
	return &emptypb.Empty{}, nil
}

// run has the program run by such an engine.
func run(t *testing.T, preview bool, program pulumi.RunFunc) (*engine, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	e, server := &engine{}, grpc.NewServer()
	pulumirpc.RegisterResourceMonitorServer(server, e)
	pulumirpc.RegisterEngineServer(server, e)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	err = pulumi.RunErr(program, func(info *pulumi.RunInfo) {
		info.Project, info.Stack, info.DryRun = "test", "test", preview
		info.MonitorAddr, info.EngineAddr = listener.Addr().String(), listener.Addr().String()
	})
	return e, err
}

// program asks for two namespaces that any pod may run in, and one thing more.
func program(mode Mode) pulumi.RunFunc {
	return func(ctx *pulumi.Context) error {
		if err := Register(ctx, mode, Options{}); err != nil {
			return err
		}
		for _, name := range []string{"open", "ajar"} {
			namespace, err := corev1.NewNamespace(ctx, name, &corev1.NamespaceArgs{Metadata: metav1.ObjectMetaArgs{Name: pulumi.String(name)}})
			if err != nil {
				return err
			}
			if name == "ajar" {
				continue
			}
			_, err = corev1.NewConfigMap(ctx, "inside", &corev1.ConfigMapArgs{Metadata: metav1.ObjectMetaArgs{Namespace: namespace.Metadata.Name()}})
			if err != nil {
				return err
			}
		}
		_, err := corev1.NewConfigMap(ctx, "beside", &corev1.ConfigMapArgs{Data: pulumi.StringMap{"a": pulumi.ToSecret(pulumi.String("b")).(pulumi.StringOutput)}})
		return err
	}
}

const (
	openTakesAny = "Namespace open: it takes any pod: set the label pod-security.kubernetes.io/enforce to restricted or baseline (pod-security)"
	ajarTakesAny = "Namespace ajar: it takes any pod: set the label pod-security.kubernetes.io/enforce to restricted or baseline (pod-security)"
)

func TestWarnSaysWhatIsWrongAndLetsItPass(t *testing.T) {
	for _, preview := range []bool{true, false} {
		e, err := run(t, preview, program(Warn))
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"open", "ajar", "inside", "beside"}, e.made)
		require.ElementsMatch(t, []string{"WARNING " + openTakesAny, "WARNING " + ajarTakesAny}, e.said)
	}
}

// In preview everything is looked at before it fails, what depends on the one
// that is wrong among it.
func TestEnforceFailsThePreviewAfterAllIsSaid(t *testing.T) {
	e, err := run(t, true, program(Enforce))
	require.ErrorIs(t, err, errBroken)
	require.ElementsMatch(t, []string{"open", "ajar", "inside", "beside"}, e.made)
	require.ElementsMatch(t, []string{"ERROR " + openTakesAny, "ERROR " + ajarTakesAny}, e.said)
}

func TestEnforceKeepsUpFromMakingIt(t *testing.T) {
	e, err := run(t, false, program(Enforce))
	require.ErrorContains(t, err, errBroken.Error())
	require.Equal(t, []string{"beside"}, e.made, "neither what is wrong nor what is inside it")
	require.ElementsMatch(t, []string{"ERROR " + openTakesAny, "ERROR " + ajarTakesAny}, e.said)
}

func TestEnforceLetsTheRestPass(t *testing.T) {
	for _, preview := range []bool{true, false} {
		e, err := run(t, preview, func(ctx *pulumi.Context) error {
			if err := Register(ctx, Enforce, Options{}); err != nil {
				return err
			}
			_, err := corev1.NewNamespace(ctx, "closed", &corev1.NamespaceArgs{Metadata: metav1.ObjectMetaArgs{
				Labels: pulumi.StringMap{"pod-security.kubernetes.io/enforce": pulumi.String("restricted")},
			}})
			return err
		})
		require.NoError(t, err)
		require.Equal(t, []string{"closed"}, e.made)
		require.Empty(t, e.said)
	}
}

func TestOffLooksAtNothing(t *testing.T) {
	e, err := run(t, true, program(Off))
	require.NoError(t, err)
	require.Empty(t, e.transforms)
	require.Empty(t, e.said)
}

// Under mocks, as tests of programs have them, there are no transforms.
func TestMocksAreLeftAlone(t *testing.T) {
	require.NoError(t, pulumi.RunErr(program(Enforce), pulumi.WithMocks("test", "test", mocks{})))
}

type mocks struct{}

func (mocks) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return args.Name, args.Inputs, nil
}

func (mocks) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return resource.PropertyMap{}, nil
}
