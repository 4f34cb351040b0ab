// Command localcluster runs a single-node Kubernetes on a Debian machine from
// plain binaries, with no container registry, and removes it without a trace.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alecthomas/kong"

	"headroom.dev/hack/localcluster/internal/cluster"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

type commandLine struct {
	State string `help:"Directory of everything that the cluster keeps; it is removed by down (default: ${default})." default:"/var/lib/headroom-cluster" env:"HEADROOM_CLUSTER_STATE" type:"path" placeholder:"DIR"`
	Bin   string `help:"Directory of the Kubernetes binaries, coredns and pause (default: where localcluster was started from)." env:"HEADROOM_CLUSTER_BIN" type:"path" placeholder:"DIR"`

	Up     struct{} `cmd:"" help:"Start the cluster, or what is missing of it, and wait until it is healthy."`
	Down   struct{} `cmd:"" help:"Stop the cluster and remove everything that it left on the machine."`
	Status struct {
		VerifyClean bool `help:"Fail, with a list, if anything of the cluster is on the machine." env:"HEADROOM_CLUSTER_VERIFY_CLEAN"`
	} `cmd:"" help:"Say whether every component is healthy; exit with 1 if not."`
	Load struct {
		Images []string `arg:"" name:"image" help:"A docker-archive tar." type:"path"`
	} `cmd:"" help:"Load images into the cluster."`
	Kubeconfig struct{} `cmd:"" help:"Print the path of the cluster's kubeconfig."`
}

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var line commandLine
	parser := kong.Must(&line, kong.Name("localcluster"),
		kong.Description("A single-node Kubernetes on this machine, from plain binaries. Needs root."))
	parsed, err := parser.Parse(os.Args[1:])
	if err != nil {
		return fail(err, exitUsage)
	}
	// containerd, iptables and ip lie in directories that a plain user's
	// PATH may lack.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		return fail(err, exitFailure)
	}
	if line.Bin == "" {
		if line.Bin, err = startedFrom(); err != nil {
			return fail(err, exitFailure)
		}
	}
	c, err := cluster.New(line.State, line.Bin, os.Stdout)
	if err != nil {
		return fail(err, exitUsage)
	}
	switch parsed.Selected().Name {
	case "up":
		err = c.Up(ctx)
	case "down":
		err = c.Down(ctx)
	case "status":
		if line.Status.VerifyClean {
			err = c.VerifyClean()
		} else {
			err = c.Status(ctx)
		}
	case "load":
		err = c.Load(ctx, line.Load.Images)
	case "kubeconfig":
		fmt.Println(c.Kubeconfig())
	}
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	return fail(err, exitFailure)
}

// startedFrom is the directory of the link or file that this program was
// started by: beside it are the others, while its own file may lie in a cache.
func startedFrom() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", fmt.Errorf("find the directory of the binaries: %w; name it with --bin", err)
	}
	path, err = filepath.Abs(path)
	return filepath.Dir(path), err
}

func fail(err error, code int) int {
	_, _ = fmt.Fprintf(os.Stderr, "localcluster: %v\n", err)
	return code
}
