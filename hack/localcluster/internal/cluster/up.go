package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"headroom.dev/hack/localcluster/internal/host"
)

const (
	// startLimit is how long a component may take to become healthy on a busy
	// machine.
	startLimit = 2 * time.Minute
	// grace is how long one that runs already may take to answer again, for
	// example because what it depends on has just been started anew.
	grace = 10 * time.Second
	// cleanLimit is how long taking everything away may take.
	cleanLimit = time.Minute
	// tailLines is how much of a log a failure shows.
	tailLines = 8
)

// machine is what has to be known of the machine from before the cluster to
// leave it as it was. Its file also says that a directory is a cluster's.
type machine struct {
	// Settings are the kernel settings and their values.
	Settings map[string]string `json:"settings"`
	// Absent are the directories that did not exist.
	Absent []string `json:"absent"`
}

// outside are the directories, children first, in which programs that have no
// setting for it leave files.
var outside = []string{
	resultDir, filepath.Dir(resultDir),
	devicePlugins, filepath.Dir(devicePlugins),
	logLinks,
	shimSockets, filepath.Dir(shimSockets),
}

const (
	devicePlugins = "/var/lib/kubelet/device-plugins"
	logLinks      = "/var/log/containers"
	shimSockets   = "/run/containerd/s"
)

func (c *Cluster) machineFile() string { return c.path("machine.json") }

// readyFile says that the cluster has been up: what is in the directory is
// worth starting again rather than starting over.
func (c *Cluster) readyFile() string { return c.path("ready") }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// checkState refuses a directory with files of someone else's.
func (c *Cluster) checkState() error {
	entries, err := os.ReadDir(c.state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	if len(entries) > 0 && !exists(c.machineFile()) && !exists(c.machineFile()+".partial") {
		return fmt.Errorf("--state %s is neither empty nor a cluster's: name another directory", c.state)
	}
	return nil
}

// remember writes the machine file, unless an earlier run did.
func (c *Cluster) remember() error {
	if exists(c.machineFile()) {
		return nil
	}
	before := machine{Settings: map[string]string{}}
	for _, name := range kernelSettings {
		value, err := host.ReadSysctl(name)
		if err != nil {
			return err
		}
		before.Settings[name] = value
	}
	for _, dir := range outside {
		if !exists(dir) {
			before.Absent = append(before.Absent, dir)
		}
	}
	text, err := json.MarshalIndent(before, "", "  ")
	if err != nil {
		return err
	}
	return replace(c.machineFile(), append(text, '\n'))
}

// enter is how every change of the cluster begins: as root, in a directory that
// is the cluster's, and alone until unlock is called.
func (c *Cluster) enter(ctx context.Context) (unlock func(), err error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	if err := c.checkState(); err != nil {
		return nil, err
	}
	return c.lock(ctx)
}

// Up makes the cluster run and be healthy: it starts what is missing of one
// that ran before, and starts over what a run that was killed left half done.
// On an error it has stopped what it started.
func (c *Cluster) Up(ctx context.Context) error {
	began := time.Now()
	unlock, err := c.enter(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if exists(c.readyFile()) {
		names, results, err := c.health(ctx)
		if err != nil {
			return err
		}
		if firstError(names, results) == nil {
			c.say("already up (kubeconfig %s, context %s)", c.Kubeconfig(), Context)
			return nil
		}
	}
	if err := c.checkPrograms(); err != nil {
		return err
	}
	if err := c.prepare(ctx); err != nil {
		return err
	}
	started := map[string]bool{}
	if err := c.bring(ctx, started); err != nil {
		return errors.Join(err, c.undo(started))
	}
	c.say("up in %.1f s (kubeconfig %s, context %s)", time.Since(began).Seconds(), c.Kubeconfig(), Context)
	return nil
}

func firstError(names []string, results map[string]error) error {
	for _, name := range names {
		if results[name] != nil {
			return fmt.Errorf("%s: %w", name, results[name])
		}
	}
	return nil
}

// prepare clears away what a killed first start left, and then checks that the
// machine can have a cluster.
func (c *Cluster) prepare(ctx context.Context) error {
	members, err := c.members()
	if err != nil {
		return err
	}
	if !exists(c.readyFile()) && (len(members) > 0 || exists(c.machineFile()) || exists(c.machineFile()+".partial")) {
		err := c.timed("cleared what an unfinished start left", func() error { return c.clean(ctx, false) })
		if err != nil {
			return err
		}
		members = nil
	}
	if err := c.checkMachine(running(c.components(), members)); err != nil {
		return err
	}
	return loadBridgeFilter()
}

// bring starts what does not run and waits until it is healthy. It notes what
// it has started.
func (c *Cluster) bring(ctx context.Context, started map[string]bool) error {
	err := c.timed("certificates, configuration, network", func() error {
		if err := c.remember(); err != nil {
			return err
		}
		renewed, err := c.writeConfig()
		if err != nil {
			return err
		}
		if renewed {
			if err := c.stopComponents(ctx, func(string) bool { return true }); err != nil {
				return fmt.Errorf("stop what holds the old certificates: %w", err)
			}
		}
		if err := host.CreateCgroup(cgroup); err != nil {
			return err
		}
		return setUpNetwork()
	})
	if err != nil {
		return err
	}
	var since time.Time
	components := c.components()
	for _, group := range [][]component{components[:2], components[2:3], components[3:]} {
		names := make([]string, len(group))
		for i, p := range group {
			names[i] = strings.TrimPrefix(p.name, "kube-")
		}
		before := c.clock().Truncate(time.Second) // a report's time has no fractions
		if err := c.timed(strings.Join(names, ", "), func() error { return c.startGroup(ctx, group, started) }); err != nil {
			return err
		}
		if started["kubelet"] {
			since = before
		}
		switch group[0].name {
		case "containerd":
			err = c.timed("sandbox image", func() error { return c.ensurePause(ctx) })
		case "kube-apiserver":
			err = c.grant(ctx)
		}
		if err != nil {
			return err
		}
	}
	for _, check := range c.checks(since) {
		err := c.timed(check.name, func() error { return await(ctx, startLimit, nil, check.run) })
		if err != nil {
			return fmt.Errorf("%s: %w", check.name, err)
		}
	}
	return replace(c.readyFile(), []byte("this cluster has been up\n"))
}

// startGroup starts the components that don't run or don't answer, all at once,
// and waits for each.
func (c *Cluster) startGroup(ctx context.Context, group []component, started map[string]bool) error {
	members, err := c.members()
	if err != nil {
		return err
	}
	processes := running(group, members)
	died := map[string]<-chan error{}
	for _, p := range group {
		if len(processes[p.name]) > 0 {
			err := await(ctx, grace, nil, p.healthy)
			if err == nil {
				continue
			}
			c.say("%s runs but is not healthy (%v): starting it anew", p.name, err)
			if err := c.stopComponents(ctx, func(name string) bool { return name == p.name }); err != nil {
				return err
			}
		}
		if died[p.name], err = c.start(p); err != nil {
			return err
		}
		started[p.name] = true
	}
	for _, p := range group {
		if died[p.name] == nil {
			continue
		}
		if err := await(ctx, startLimit, died[p.name], p.healthy); err != nil {
			return c.explain(p.name, err)
		}
	}
	return nil
}

// explain adds to the failure of a component what its log says.
func (c *Cluster) explain(name string, err error) error {
	log := c.log(name)
	text, readErr := os.ReadFile(log)
	if readErr != nil {
		return fmt.Errorf("%s %w", name, err)
	}
	return fmt.Errorf("%s %w\nits log (%s) says:\n  %s", name, err, log, strings.Join(relevant(string(text), tailLines), "\n  "))
}

// grant applies what the API server has to allow beyond its own roles.
func (c *Cluster) grant(ctx context.Context) error {
	api := c.clients().api
	for path, rule := range access() {
		url := endpoint("https", loopback, apiServerPort) + path + "?fieldManager=localcluster&force=true"
		if err := api.call(ctx, http.MethodPatch, url, rule, nil); err != nil {
			return fmt.Errorf("grant access: %w", err)
		}
	}
	return nil
}

// stopComponents ends the components with the names that selects picks, but not
// the pods.
func (c *Cluster) stopComponents(ctx context.Context, selects func(name string) bool) error {
	components := map[string]string{}
	for _, p := range c.components() {
		if selects(p.name) {
			components[p.name] = filepath.Base(p.binary)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, cleanLimit)
	defer cancel()
	return host.Kill(ctx, cgroup, func(p host.Process) bool {
		return p.State == c.state && p.Component != "" && components[p.Component] == p.Executable
	})
}

// undo stops what a failed run started: all of it, but for the logs, where the
// cluster has never been up, else the components that it started.
func (c *Cluster) undo(started map[string]bool) error {
	// The run may have failed because its own context ended.
	ctx, cancel := context.WithTimeout(context.Background(), cleanLimit)
	defer cancel()
	if !exists(c.readyFile()) {
		c.say("failed: stopping what was started; the logs stay in %s", c.path("logs"))
		return c.clean(ctx, true)
	}
	c.say("failed: stopping what was started; if it fails again, take the cluster down and start anew")
	return c.stopComponents(ctx, func(name string) bool { return started[name] })
}
