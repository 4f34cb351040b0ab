package stack

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"

	"headroom.dev/infra/internal/config"
	"headroom.dev/infra/internal/recorder"
)

// names are all URNs that the engine knows a program's resources by: the present
// one and its aliases, those that come by a parent's alias among them.
func names(recording recorder.Recording, project string) []string {
	urn := func(parent resource.URN, r recorder.Resource) resource.URN {
		var above tokens.Type
		if parent != "" && parent.QualifiedType() != resource.RootStackType {
			above = parent.QualifiedType()
		}
		return resource.NewURN("test", tokens.PackageName(project), above, tokens.Type(r.Type), r.Name)
	}
	known := map[resource.URN][]resource.URN{} // by the present URN
	pending := slices.Clone(recording.Resources)
	for len(pending) > 0 {
		r := pending[0]
		pending = pending[1:]
		parent := resource.URN(r.Parent)
		parents, there := known[parent]
		if !there && parent.Type() != resource.RootStackType {
			pending = append(pending, r)
			continue
		}
		all := []resource.URN{urn(parent, r)}
		for _, alias := range parents {
			all = append(all, urn(alias, r))
		}
		if r.WasParentless {
			all = append(all, urn("", r))
		}
		known[all[0]] = all
	}
	var found []string
	for _, all := range known {
		for _, urn := range all {
			found = append(found, string(urn))
		}
	}
	return found
}

// A stack that was made before there was a component around everything keeps
// its resources: each is found by the name that it had, which testdata lists.
func TestAnOlderStackKeepsItsResources(t *testing.T) {
	content, err := os.ReadFile("testdata/urns.txt")
	require.NoError(t, err)
	var found []string
	for _, settings := range [][]string{{"metricsServer=true"}, {"scaler=hpa"}} {
		cfg, err := load(settings...)
		require.NoError(t, err)
		recording, err := recorder.Run(config.Project, "test", Program(cfg))
		require.NoError(t, err)
		found = append(found, names(recording, config.Project)...)
	}
	require.Subset(t, found, strings.Fields(string(content)))
}

// In others' programs nothing is older than the component, and an alias could be
// the name of something of theirs.
func TestOthersProgramsGetNoAliases(t *testing.T) {
	cfg, err := load()
	require.NoError(t, err)
	recording, err := recorder.Run("shop", "test", func(ctx *pulumi.Context) error {
		_, err := New(ctx, "pictures", cfg)
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, recording.Resources)
	for _, r := range recording.Resources {
		require.False(t, r.WasParentless, r.Name)
	}
}
