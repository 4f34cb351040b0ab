// Package cluster runs a single-node Kubernetes on this machine from plain
// binaries, without a container registry, and takes it away again without a
// trace.
//
// There is one such cluster per machine: its bridge, addresses and ports are
// fixed, and every clone of the repository uses the same one.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"headroom.dev/hack/localcluster/internal/host"
)

// DefaultState is the state directory unless another one is asked for.
const DefaultState = "/var/lib/headroom-cluster"

// Context is the name of the kubeconfig's context.
const Context = "headroom-local"

const (
	nodeName  = "headroom-local"
	bridge    = "headroom0"
	gateway   = "10.244.0.1" // the bridge's address: the node, to pods
	podRange  = "10.244.0.0/16"
	services  = "10.96.0.0/16"
	apiVIP    = "10.96.0.1" // the kubernetes service: the first of its range
	domain    = "cluster.local"
	issuer    = "https://kubernetes.default.svc." + domain
	loopback  = "127.0.0.1"
	cgroup    = "/headroom-cluster"
	network   = "headroom-cluster" // the CNI network, and so the prefix of its cached results
	pause     = "localhost/headroom/pause:1"
	runDir    = "/run/headroom-cluster"
	lockFile  = "/run/headroom-cluster.lock"
	resultDir = "/var/lib/cni/results" // libcni's cache; containerd has no setting for it
)

// Ports that no other Kubernetes, etcd or DNS server listens on by default,
// except for DNS, which clients expect at 53.
const (
	etcdPort              = 12379
	etcdPeerPort          = 12380
	apiServerPort         = 16443
	kubeletHealthPort     = 11248
	proxyMetricsPort      = 11249
	kubeletPort           = 11250
	proxyHealthPort       = 11256
	controllerManagerPort = 11257
	schedulerPort         = 11259
	dnsReadyPort          = 11281
	dnsPort               = 53
)

// chainPrefixes are those of the packet filter chains that the tool, kube-proxy
// and kubelet make.
var chainPrefixes = []string{"HEADROOM-", "KUBE-"}

// Cluster is the cluster with its files in one state directory.
type Cluster struct {
	state    string
	binaries string
	out      io.Writer
	clock    func() time.Time
}

// New is the cluster with its state in the directory state, its Kubernetes
// binaries in the directory binaries, and its progress printed to out, a line a
// step.
func New(state, binaries string, out io.Writer) (*Cluster, error) {
	for name, dir := range map[string]*string{"state": &state, "bin": &binaries} {
		absolute, err := filepath.Abs(*dir)
		if err != nil {
			return nil, fmt.Errorf("directory of %s: %w", name, err)
		}
		*dir = absolute
	}
	if strings.Count(state, "/") < 2 || strings.ContainsAny(state, ":\"\n") {
		return nil, fmt.Errorf("--state %q: want a directory of its own, below a top-level one, with no colon or quote in its path", state)
	}
	return &Cluster{state: state, binaries: binaries, out: out, clock: time.Now}, nil
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return c.path("kubeconfig") }

func (c *Cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.state}, elements...)...)
}

func (c *Cluster) say(format string, arguments ...any) {
	_, _ = fmt.Fprintf(c.out, "cluster: "+format+"\n", arguments...)
}

// timed runs a step and prints its name and how long it took.
func (c *Cluster) timed(name string, step func() error) error {
	started := time.Now()
	if err := step(); err != nil {
		return err
	}
	c.say("%-58s %5.1f s", name, time.Since(started).Seconds())
	return nil
}

// members are the processes of this cluster.
func (c *Cluster) members() ([]host.Process, error) {
	processes, err := host.Processes(cgroup)
	if err != nil {
		return nil, err
	}
	for _, process := range processes {
		if process.State != "" && process.State != c.state {
			return nil, fmt.Errorf("a cluster with its state in %s runs on this machine (%s, pid %d): use --state %s",
				process.State, process.Component, process.PID, process.State)
		}
	}
	return processes, nil
}

// lock keeps a second run of this tool out until unlock is called.
func (c *Cluster) lock(ctx context.Context) (unlock func(), err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for told := false; ; {
		file, err := os.OpenFile(lockFile, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && samePath(file) {
			return func() {
				// Removed while it is held: whoever opened it before finds that
				// the path is no longer this file and opens the new one.
				_ = os.Remove(lockFile)
				_ = file.Close()
			}, nil
		}
		_ = file.Close()
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", lockFile, err)
		}
		if !told {
			told = true
			c.say("another run of localcluster is at work; waiting for it")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another run of localcluster: %w", ctx.Err())
		}
	}
}

func samePath(file *os.File) bool {
	held, err := file.Stat()
	if err != nil {
		return false
	}
	current, err := os.Stat(lockFile)
	return err == nil && os.SameFile(held, current)
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("needs root: it makes network links, mounts and cgroups; run it with sudo")
	}
	return nil
}

// packages are the Debian packages of the programs that a cluster needs beside
// the built ones.
var packages = []struct{ program, name string }{
	{"containerd", "containerd"},
	{"containerd-shim-runc-v2", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"etcd", "etcd-server"},
	{"ip", "iproute2"},
	{"iptables", "iptables"},
	{"iptables-save", "iptables"},
	{"iptables-restore", "iptables"},
	{"mount", "mount"},
}

var cniPlugins = []string{"bridge", "host-local", "loopback"}

// cniDirs are where Debian and the plugins' own releases put them.
var cniDirs = []string{"/usr/lib/cni", "/opt/cni/bin"}

func cniDir() (string, bool) {
	for _, dir := range cniDirs {
		complete := true
		for _, plugin := range cniPlugins {
			if _, err := os.Stat(filepath.Join(dir, plugin)); err != nil {
				complete = false
			}
		}
		if complete {
			return dir, true
		}
	}
	return "", false
}

// checkPrograms tells in one error what is not installed or not built.
func (c *Cluster) checkPrograms() error {
	var unbuilt, missing, install []string
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns", "pause"} {
		if _, err := exec.LookPath(filepath.Join(c.binaries, name)); err != nil {
			unbuilt = append(unbuilt, name)
		}
	}
	if len(unbuilt) > 0 {
		return fmt.Errorf("--bin %s has no %s: run hack/tools.sh cluster, or name another directory", c.binaries, strings.Join(unbuilt, ", "))
	}
	want := func(name string) {
		if !strings.Contains(" "+strings.Join(install, " ")+" ", " "+name+" ") {
			install = append(install, name)
		}
	}
	for _, p := range packages {
		if _, err := exec.LookPath(p.program); err != nil {
			missing = append(missing, p.program)
			want(p.name)
		}
	}
	if _, ok := cniDir(); !ok {
		missing = append(missing, "CNI plugins "+strings.Join(cniPlugins, " "))
		want("containernetworking-plugins")
	}
	if len(missing) > 0 {
		return fmt.Errorf("not installed: %s; run hack/apt.sh %s", strings.Join(missing, ", "), strings.Join(install, " "))
	}
	return nil
}

// checkMachine tells what on this machine stands in the way of a start.
func (c *Cluster) checkMachine(running map[string][]host.Process) error {
	foreign, err := host.Named("kubelet", "kube-proxy", "k3s")
	if err != nil {
		return err
	}
	if len(foreign) > 0 {
		return fmt.Errorf("another Kubernetes node runs on this machine: %s (pid %d); two can't share its packet filter rules", foreign[0].Executable, foreign[0].PID)
	}
	taken, err := host.Overlap(bridge, netip.MustParsePrefix(podRange), netip.MustParsePrefix(services))
	if err != nil {
		return err
	}
	if taken != "" {
		return fmt.Errorf("network %s shares addresses with the cluster's %s and %s", taken, podRange, services)
	}
	return c.awaitPorts(running)
}

// awaitPorts returns an error when a port is taken that a component needs. The
// sockets of a process that was killed a moment ago outlive it for as long as
// the kernel takes to clear it away, without an owner: those get some time.
func (c *Cluster) awaitPorts(running map[string][]host.Process) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		owned, err := c.portTaken(running)
		if err == nil || owned || time.Now().After(deadline) {
			return err
		}
	}
}

// portTaken returns an error for the first port that a component needs and
// can't have, and whether the one who has it is known.
func (c *Cluster) portTaken(running map[string][]host.Process) (owned bool, err error) {
	listeners, err := host.Listeners()
	if err != nil {
		return true, err
	}
	for _, component := range c.components() {
		if len(running[component.name]) > 0 {
			continue
		}
		for _, use := range component.listens {
			for _, listener := range listeners {
				if !listener.Takes(use.network, use.address) {
					continue
				}
				owner, owned := listener.Owner()
				return owned, fmt.Errorf("port %d (%s), which %s needs at %s, is taken by %s",
					use.address.Port(), use.network, component.name, use.address.Addr(), owner)
			}
		}
	}
	return true, nil
}
