package render

import (
	"bytes"
	"encoding/base64"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"headroom.dev/infra/internal/recorder"
)

var update = flag.Bool("update", false, "write the golden manifests instead of comparing with them")

const root = "../../.."

// The manifests of the committed stacks are those in golden, so that what a
// change does to a cluster is seen in its diff.
func TestGolden(t *testing.T) {
	for _, stack := range []string{"dev", "prod", "existing-monitoring"} {
		t.Run(stack, func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join(root, "Pulumi."+stack+".yaml"))
			require.NoError(t, err)
			manifests, err := Stack(file, os.DirFS(root), true)
			require.NoError(t, err)
			got, err := Join(manifests)
			require.NoError(t, err)
			golden := filepath.Join("../../golden", stack+".yaml")
			if *update {
				require.NoError(t, os.WriteFile(golden, got, 0o644))
				return
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got), "make golden writes it anew")
		})
	}
}

// Two runs give the same, byte by byte, though passwords are made anew and
// resources are registered side by side.
func TestRenderingIsStable(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(root, "Pulumi.prod.yaml"))
	require.NoError(t, err)
	var before []byte
	for range 5 {
		manifests, err := Stack(file, os.DirFS(root), true)
		require.NoError(t, err)
		content, err := Join(manifests)
		require.NoError(t, err)
		require.True(t, before == nil || bytes.Equal(before, content))
		before = content
	}
}

const images = "\n  headroom:modelServerImage: m:1\n  headroom:dispatcherImage: d:1\n  headroom:scalerImage: s:1\n"

func TestStackFiles(t *testing.T) {
	render := func(lines ...string) (string, error) {
		file := "config:" + images + strings.Join(lines, "\n")
		manifests, err := Stack([]byte(file), fstest.MapFS{}, false)
		if err != nil {
			return "", err
		}
		content, err := Join(manifests)
		return string(content), err
	}
	t.Run("scalars, lists and maps arrive as the engine hands them over", func(t *testing.T) {
		content, err := render("  headroom:maxReplicas: 17", "  headroom:createNamespace: false",
			"  headroom:schedules: [{name: daily, cron: 0 8 * * *, duration: 90m, floor: 4}]",
			"  headroom:modelServerNodeSelector: {example.com/pool: inference}")
		require.NoError(t, err)
		require.Contains(t, content, "max: 17\n")
		require.Contains(t, content, "name: daily\n")
		require.Contains(t, content, "example.com/pool: inference\n")
		require.NotContains(t, content, "kind: Namespace\n")
	})
	t.Run("an encrypted value is not opened, and stands for one that is allowed", func(t *testing.T) {
		content, err := render("  headroom:redisPassword: {secure: v1:abc}")
		require.NoError(t, err)
		require.NotContains(t, content, encrypted)
		require.NotContains(t, content, base64.StdEncoding.EncodeToString([]byte(encrypted)))
		require.Contains(t, content, "password: "+base64.StdEncoding.EncodeToString([]byte(secretStandIn))+"\n")
	})
	t.Run("a mistake is told as in preview", func(t *testing.T) {
		_, err := render("  headroom:scaler: keda", "  headroom:redisPassword: in-clear-text")
		require.EqualError(t, err, "headroom:redisPassword is stored in clear text; set it with: pulumi config set --secret redisPassword\n"+
			`headroom:scaler is "keda"; must be one of custom, hpa, none`)
	})
}

func TestManifestsAreInTheOrderInWhichAClusterTakesThem(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(root, "Pulumi.dev.yaml"))
	require.NoError(t, err)
	manifests, err := Stack(file, os.DirFS(root), true)
	require.NoError(t, err)
	require.Equal(t, "Namespace", manifests[0].Kind)
	seen := map[string]int{}
	files := map[string]bool{}
	for i, m := range manifests {
		seen[m.Kind] = i
		require.False(t, files[m.FileName()], m.FileName())
		require.Regexp(t, `^[0-9]{2}-[a-z0-9.-]+\.yaml$`, m.FileName())
		files[m.FileName()] = true
	}
	for _, pair := range [][2]string{{"Secret", "Deployment"}, {"ConfigMap", "Deployment"}, {"Role", "RoleBinding"}, {"RoleBinding", "Deployment"}, {"Service", "APIService"}} {
		require.Less(t, seen[pair[0]], seen[pair[1]], "%v", pair)
	}
}

// Whatever is marked as a secret is replaced, wherever it is, and nothing else.
func TestSecretsAreReplaced(t *testing.T) {
	recording, err := recorder.Run("p", "s", func(ctx *pulumi.Context) error {
		provider, err := kubernetes.NewProvider(ctx, "cluster", &kubernetes.ProviderArgs{Kubeconfig: pulumi.String("x")})
		if err != nil {
			return err
		}
		_, err = corev1.NewConfigMap(ctx, "c", &corev1.ConfigMapArgs{
			Metadata: metav1.ObjectMetaArgs{Name: pulumi.String("c")},
			Data: pulumi.StringMap{
				"open":   pulumi.String("seen"),
				"hidden": pulumi.ToSecret(pulumi.String("unseen")).(pulumi.StringOutput),
			},
		}, pulumi.Provider(provider))
		if err != nil {
			return err
		}
		_, err = corev1.NewSecret(ctx, "s", &corev1.SecretArgs{
			Metadata: metav1.ObjectMetaArgs{Name: pulumi.String("s")},
			Data:     pulumi.ToSecret(pulumi.StringMap{"key": pulumi.String("dW5zZWVu")}).(pulumi.StringMapOutput),
		})
		return err
	})
	require.NoError(t, err)
	manifests, err := Manifests(recording.Resources)
	require.NoError(t, err)
	require.Len(t, manifests, 2, "a provider is no object")
	var found []map[string]any
	for _, m := range manifests {
		content, err := m.YAML()
		require.NoError(t, err)
		var object map[string]any
		require.NoError(t, yaml.Unmarshal(content, &object))
		found = append(found, object)
	}
	require.Equal(t, map[string]any{"key": base64.StdEncoding.EncodeToString([]byte(secretStandIn))}, found[0]["data"])
	require.Equal(t, map[string]any{"open": "seen", "hidden": secretStandIn}, found[1]["data"])
}
