// Upstream runs the autoscalers that others wrote, Kubernetes'
// HorizontalPodAutoscaler and Knative's, in lockstep with a simulator that
// speaks to it over stdin and stdout: see README.md for the protocol.
package main

import (
	"fmt"
	"os"
	"testing"

	"headroom.dev/scaler/upstream/internal/serve"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintf(os.Stderr, "upstream: argument %s: none are allowed, sessions come over stdin\n", os.Args[1])
		os.Exit(2)
	}
	// Virtual time is to be had only within a test.
	testing.Main(everyName, []testing.InternalTest{{Name: "upstream", F: run}}, nil, nil)
}

// run never returns: what testing prints after a test is not of the protocol.
func run(t *testing.T) {
	if err := serve.Serve(t, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "upstream: %v\n", err)
		os.Exit(2)
	}
	os.Exit(0)
}

func everyName(_, _ string) (bool, error) { return true, nil }
