package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"headroom.dev/hack/localcluster/internal/host"
)

// Down takes the cluster away: its pods, its programs, and everything that they
// left on the machine. None there is no error.
func (c *Cluster) Down(ctx context.Context) error {
	began := time.Now()
	unlock, err := c.enter(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	left, err := c.Leftovers()
	if err != nil {
		return err
	}
	if len(left) == 0 {
		c.say("nothing to take down")
		return nil
	}
	if err := c.clean(ctx, false); err != nil {
		return err
	}
	if left, err = c.Leftovers(); err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("still there:\n  %s", strings.Join(left, "\n  "))
	}
	c.say("down in %.1f s, nothing is left", time.Since(began).Seconds())
	return nil
}

// clean ends and removes everything, as far as it gets; with keepLogs the logs
// stay. It needs no component to be alive.
func (c *Cluster) clean(ctx context.Context, keepLogs bool) error {
	if _, err := c.members(); err != nil {
		return err // another directory's cluster
	}
	ctx, cancel := context.WithTimeout(ctx, cleanLimit)
	defer cancel()
	// kubelet first, or it would start again what is ended here. The shims that
	// hold the pods carry the mark, and the pods lie in the cgroup: containerd
	// isn't asked, because it may be dead.
	if err := c.stopComponents(ctx, func(name string) bool { return name == "kubelet" }); err != nil {
		return err
	}
	if err := host.Kill(ctx, cgroup, func(host.Process) bool { return true }); err != nil {
		return err
	}
	chains, err := ourChainPrefixes()
	failed := errors.Join(
		err,
		host.RemoveBridge(bridge),
		host.RemoveChains(chains...),
		host.RemoveCgroup(ctx, cgroup),
		c.removeOutside(),
	)
	if err := host.Unmount(c.state, runDir); err != nil {
		return errors.Join(failed, err)
	}
	// A mount that stayed would be emptied together with the directory.
	if mounts, err := host.Mounts(c.state, runDir); err != nil || len(mounts) > 0 {
		return errors.Join(failed, err, fmt.Errorf("mounts stay, so no file is removed: %v", mounts))
	}
	return errors.Join(failed, c.restore(), os.RemoveAll(runDir), c.removeState(keepLogs))
}

// ourChainPrefixes leaves kube-proxy's chains alone where another node's
// kube-proxy runs.
func ourChainPrefixes() ([]string, error) {
	foreign, err := host.Named("kubelet", "kube-proxy", "k3s")
	if err != nil {
		return nil, err
	}
	if len(foreign) > 0 {
		return chainPrefixes[:1], nil
	}
	return chainPrefixes, nil
}

// strays are our files in directories that others use as well.
func (c *Cluster) strays() []string {
	found, _ := filepath.Glob(filepath.Join(resultDir, network+"-*"))
	links, _ := filepath.Glob(filepath.Join(logLinks, "*"))
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, c.path("pod-logs")+"/") {
			found = append(found, link)
		}
	}
	addresses, _ := filepath.Glob(runDir + "/containerd/io.containerd.runtime.v2.task/*/*/address")
	for _, file := range addresses {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if socket := strings.TrimPrefix(strings.TrimSpace(string(text)), "unix://"); exists(socket) {
			found = append(found, socket)
		}
	}
	if exists(c.machineFile()) {
		for _, name := range []string{"kubelet.sock", "kubelet_internal_checkpoint"} {
			if file := filepath.Join(devicePlugins, name); exists(file) {
				found = append(found, file)
			}
		}
	}
	return found
}

func (c *Cluster) removeOutside() error {
	var failed error
	for _, file := range c.strays() {
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// restore gives the kernel settings their old values and removes the
// directories that were not there, if nothing is in them.
func (c *Cluster) restore() error {
	text, err := os.ReadFile(c.machineFile())
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var before machine
	if err := json.Unmarshal(text, &before); err != nil {
		return fmt.Errorf("%s: %w", c.machineFile(), err)
	}
	var failed error
	for name, value := range before.Settings {
		failed = errors.Join(failed, host.WriteSysctl(name, value))
	}
	for _, dir := range before.Absent {
		_ = os.Remove(dir) // refuses one that holds something
	}
	return failed
}

// removeState removes the state directory, the file that says whose it is last.
func (c *Cluster) removeState(keepLogs bool) error {
	entries, err := os.ReadDir(c.state)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var failed error
	for _, entry := range entries {
		path := c.path(entry.Name())
		if path == c.machineFile() || (keepLogs && entry.Name() == "logs") {
			continue
		}
		failed = errors.Join(failed, os.RemoveAll(path))
	}
	if failed != nil || keepLogs {
		return failed
	}
	return os.RemoveAll(c.state)
}

// Leftovers are the things on this machine that are the cluster's, running or
// not: processes, mounts, cgroups, links, packet filter chains and files.
func (c *Cluster) Leftovers() ([]string, error) {
	var left []string
	note := func(kind string, names ...string) {
		for _, name := range names {
			left = append(left, kind+" "+name)
		}
	}
	members, err := c.members()
	if err != nil {
		return nil, err
	}
	for _, p := range members {
		note("process", fmt.Sprintf("%d (%s)", p.PID, p.Executable))
	}
	mounts, err := host.Mounts(c.state, runDir)
	if err != nil {
		return nil, err
	}
	note("mount", mounts...)
	cgroups, err := host.Cgroups(cgroup)
	if err != nil {
		return nil, err
	}
	note("cgroup", cgroups...)
	if host.LinkExists(bridge) {
		note("network link", bridge)
	}
	prefixes, err := ourChainPrefixes()
	if err != nil {
		return nil, err
	}
	chains, err := host.Chains(prefixes...)
	if err != nil {
		return nil, err
	}
	note("packet filter chain", chains...)
	note("file", c.strays()...)
	for _, dir := range []string{c.state, runDir} {
		if exists(dir) {
			note("directory", dir)
		}
	}
	return left, nil
}
