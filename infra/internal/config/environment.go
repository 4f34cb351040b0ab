package config

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// FromContext returns the configuration that the engine handed to the
// program: every key of the stack, also those that nothing reads, so that a
// mistyped one can be named.
func FromContext(ctx *pulumi.Context) (Source, error) {
	source := Source{Values: map[string]string{}, Secret: map[string]bool{}}
	written := os.Getenv(pulumi.EnvConfig)
	if written == "" {
		return source, nil
	}
	if err := json.Unmarshal([]byte(written), &source.Values); err != nil {
		return Source{}, fmt.Errorf("reading the environment variable %s: %w", pulumi.EnvConfig, err)
	}
	for key := range source.Values {
		source.Secret[key] = ctx.IsConfigSecret(key)
	}
	return source, nil
}
