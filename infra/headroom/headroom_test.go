package headroom

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"

	"headroom.dev/infra/internal/recorder"
)

func args() Args {
	args := Defaults()
	args.Images.ModelServer, args.Images.Dispatcher, args.Images.Scaler = "m:1", "d:1", "s:1"
	return args
}

func TestDefaultsLackOnlyTheImagesOfThisProject(t *testing.T) {
	require.EqualError(t, Defaults().Validate(), strings.Join([]string{
		"headroom:modelServerImage is not set; name an image, or run `make images` and set headroom:imagesFile",
		"headroom:dispatcherImage is not set; name an image, or run `make images` and set headroom:imagesFile",
		"headroom:scalerImage is not set; name an image, or run `make images` and set headroom:imagesFile",
	}, "\n"))
	require.Empty(t, args().Validate())
}

// All mistakes are returned, and nothing is registered.
func TestNothingIsMadeOfAMistake(t *testing.T) {
	wrong := args()
	wrong.MaxReplicas, wrong.Redis.Replicas = 0, 3
	recording, err := recorder.Run("shop", "test", func(ctx *pulumi.Context) error {
		_, err := New(ctx, "pictures", wrong)
		var problems Problems
		require.ErrorAs(t, err, &problems)
		require.Len(t, problems, 2)
		return nil
	})
	require.NoError(t, err)
	require.Empty(t, recording.Resources)
}

// The component takes the provider and the parent that it is given, and reads
// no stack's configuration.
func TestEverythingIsBelowTheComponent(t *testing.T) {
	t.Setenv("PULUMI_CONFIG", `{"headroom:maxReplicas":"many","shop:x":"y"}`)
	recording, err := recorder.Run("shop", "test", func(ctx *pulumi.Context) error {
		cluster, err := NewProvider(ctx, "cluster", "there")
		if err != nil {
			return err
		}
		service, err := New(ctx, "pictures", args(), pulumi.Provider(cluster))
		if err != nil {
			return err
		}
		ctx.Export("url", service.DispatcherURL)
		ctx.Export("metrics", service.PrometheusURL)
		ctx.Export("namespace", service.Namespace)
		ctx.Export("target", service.TargetDeployment)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"url": "http://127.0.0.1:30501", "metrics": "http://127.0.0.1:30090", "namespace": "headroom", "target": "model-server",
	}, recording.Outputs)
	for _, r := range recording.Resources {
		if !r.Custom || r.Name == "cluster" {
			continue
		}
		require.Contains(t, r.Parent, "headroom:infra:Headroom", r.Name)
		require.Contains(t, r.Provider, "::cluster::", r.Name)
	}
}

// Two of them in one program are made of different resources.
func TestOneProgramCanMakeSeveral(t *testing.T) {
	recording, err := recorder.Run("shop", "test", func(ctx *pulumi.Context) error {
		for _, name := range []string{"pictures", "sounds"} {
			args := args()
			args.Namespace, args.ServiceType = name, "ClusterIP"
			if _, err := New(ctx, name, args); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	made := map[string]bool{}
	for _, r := range recording.Resources {
		require.False(t, made[r.Type+" "+r.Name], "%s %s", r.Type, r.Name)
		made[r.Type+" "+r.Name] = true
	}
}

// Every type that a field of Args has can be named by others.
func TestThePartsOfArgsAreExported(t *testing.T) {
	content, err := os.ReadFile("headroom.go")
	require.NoError(t, err)
	var check func(typ reflect.Type)
	check = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Slice, reflect.Map, reflect.Pointer:
			check(typ.Elem())
		case reflect.Struct:
			if strings.HasSuffix(typ.PkgPath(), "internal/config") {
				require.Contains(t, string(content), "= config."+typ.Name())
			}
			for i := range typ.NumField() {
				check(typ.Field(i).Type)
			}
		}
	}
	check(reflect.TypeFor[Args]())
}
