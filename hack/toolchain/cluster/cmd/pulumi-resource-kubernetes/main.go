// Command pulumi-resource-kubernetes is Pulumi's Kubernetes provider, built
// from its Go module.
//
// The provider's own main embeds files that its release process generates, so
// it does not build from the module alone; the two files embedded here are
// copied out of that module by hack/tools.sh.
package main

import (
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

// version is the release that the pinned provider commit belongs to and that
// infra's SDK asks for.
const version = "4.25.0"

//go:embed schema-embed.json
var schema []byte

//go:embed terraform-mapping-embed.json
var terraformMapping []byte

func main() {
	provider.Serve("kubernetes", version, schema, terraformMapping)
}
