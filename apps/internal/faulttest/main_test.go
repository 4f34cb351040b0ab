// Package faulttest breaks what the dispatcher depends on, and dispatchers
// themselves, while requests are on their way. Redis, the model servers and
// the dispatchers are processes of their own, and every test accounts for each
// request that was accepted.
//
// HEADROOM_DISPATCHER names a dispatcher to test instead of this module's own.
package faulttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const (
	// useDispatcher is the environment variable that names a dispatcher's
	// program.
	useDispatcher = "HEADROOM_DISPATCHER"
	// asReplica tells the test's own binary to be a model server, and where it
	// listens.
	asReplica = "HEADROOM_TEST_AS_REPLICA"
)

var dispatcherProgram = os.Getenv(useDispatcher)

func TestMain(m *testing.M) {
	if address := os.Getenv(asReplica); address != "" {
		os.Exit(beReplica(address))
	}
	os.Exit(withDispatcher(m.Run))
}

func withDispatcher(run func() int) int {
	if dispatcherProgram != "" {
		return run()
	}
	folder, err := os.MkdirTemp("", "faulttest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(folder) }()
	dispatcherProgram = filepath.Join(folder, "dispatcher")
	build := exec.Command("go", "build", "-o", dispatcherProgram, "headroom.dev/apps/cmd/dispatcher")
	build.Env = append(os.Environ(), "GOWORK=off")
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the dispatcher: %v\n%s", err, output)
		return 1
	}
	return run()
}
