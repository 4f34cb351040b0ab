package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"headroom.dev/infra/internal/recorder"
	"headroom.dev/infra/policy"
)

// The example makes the shop and headroom side by side, and keeps the policy.
func TestTheExampleEmbedsHeadroom(t *testing.T) {
	content, err := os.ReadFile("main.go")
	require.NoError(t, err)
	require.NotContains(t, string(content), "headroom.dev/infra/internal/", "nobody else could copy it")
	t.Setenv("PULUMI_CONFIG", `{"shop:modelServerImage":"example.com/modelserver:1","shop:dispatcherImage":"example.com/dispatcher:1",
		"shop:scalerImage":"example.com/scaler:1","shop:frontImage":"example.com/front:1"}`)
	recording, err := recorder.Run("shop", "test", program)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"classifier": "http://dispatcher.pictures.svc:5001"}, recording.Outputs)

	namespaces := map[any][]string{}
	for _, r := range recording.Resources {
		body := policy.Body(r.Inputs)
		require.Empty(t, policy.Check(policy.Object{Type: r.Type, Name: r.Name, Body: body}, policy.Options{}))
		metadata, _ := body["metadata"].(map[string]any)
		if r.Type == "kubernetes:apps/v1:Deployment" {
			namespaces[metadata["namespace"]] = append(namespaces[metadata["namespace"]], r.Name)
		}
	}
	require.Equal(t, []string{"front"}, namespaces["shop"])
	require.ElementsMatch(t, []string{"pictures-dispatcher", "pictures-model-server", "pictures-prometheus", "pictures-redis", "pictures-scaler"}, namespaces["pictures"])
}
