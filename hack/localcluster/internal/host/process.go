// Package host reads and changes what a cluster leaves on the machine that it
// runs on: processes, mounts, cgroups, network links, packet filter rules,
// ports and kernel settings.
package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// MarkVariable is the environment variable that marks every process of a
// cluster with "STATE-DIRECTORY:COMPONENT". Children inherit it, so it finds
// what a list of process ids would lose in a crash, and unlike one it never
// names a stranger's process that got the number of one that ended.
const MarkVariable = "HEADROOM_CLUSTER_MEMBER"

// Process is a process of a cluster.
type Process struct {
	// PID is its process id.
	PID int
	// State is the state directory of the cluster that started it; empty where
	// only its cgroup tells that it is a cluster's.
	State string
	// Component is the component whose process it is or descends from.
	Component string
	// Executable is the base name of its program.
	Executable string
}

// Processes are the processes of this machine that carry a cluster's mark or
// lie in cgroup (an absolute path within the hierarchies) or below it.
func Processes(cgroup string) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if process, ours := inspect(pid, cgroup); ours {
			found = append(found, process)
		}
	}
	return found, nil
}

// inspect reads a process that may end at any time: what can't be read is not
// there.
func inspect(pid int, cgroup string) (Process, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	executable, err := os.Readlink(filepath.Join(dir, "exe"))
	if err != nil {
		return Process{}, false // ended, a zombie, or the kernel's own
	}
	process := Process{PID: pid, Executable: filepath.Base(strings.TrimSuffix(executable, " (deleted)"))}
	if environment, err := os.ReadFile(filepath.Join(dir, "environ")); err == nil {
		if state, component, marked := parseMark(environment); marked {
			process.State, process.Component = state, component
			return process, true
		}
	}
	groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	return process, err == nil && inCgroup(groups, cgroup)
}

func parseMark(environment []byte) (state, component string, marked bool) {
	for variable := range bytes.SplitSeq(environment, []byte{0}) {
		name, value, _ := strings.Cut(string(variable), "=")
		if name != MarkVariable {
			continue
		}
		colon := strings.LastIndexByte(value, ':')
		if colon < 0 {
			return "", "", false
		}
		return value[:colon], value[colon+1:], true
	}
	return "", "", false
}

// inCgroup tells whether the text of a /proc/PID/cgroup names cgroup or one
// below it in any hierarchy.
func inCgroup(groups []byte, cgroup string) bool {
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && (fields[2] == cgroup || strings.HasPrefix(fields[2], cgroup+"/")) {
			return true
		}
	}
	return false
}

// Signal sends a signal to the process if it still is the one that was found.
// One that has ended is no error.
func (p Process) Signal(signal syscall.Signal, cgroup string) error {
	// The handle is taken before the check: it stays with this process even if
	// the number is given to another one in between.
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return nil
	}
	defer func() { _ = handle.Release() }()
	now, ours := inspect(p.PID, cgroup)
	if !ours || now.State != p.State || now.Component != p.Component {
		return nil
	}
	if err := handle.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s (pid %d): %w", p.Executable, p.PID, err)
	}
	return nil
}

// Kill ends with SIGKILL every process that selects picks among the marked ones
// and those in cgroup, including those that appear meanwhile, and waits until
// none is left or ctx ends.
func Kill(ctx context.Context, cgroup string, selects func(Process) bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		processes, err := Processes(cgroup)
		if err != nil {
			return err
		}
		left := 0
		var failed error
		for _, process := range processes {
			if selects(process) {
				left++
				failed = errors.Join(failed, process.Signal(syscall.SIGKILL, cgroup))
			}
		}
		if left == 0 {
			return nil
		}
		if failed != nil {
			return failed
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d processes outlive SIGKILL: %w", left, ctx.Err())
		}
	}
}

// Named are the processes with one of these executables in this process's
// network namespace that carry no cluster's mark.
func Named(executables ...string) ([]Process, error) {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("read the own network namespace: %w", err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		namespace, err := os.Readlink(filepath.Join("/proc", entry.Name(), "ns/net"))
		if err != nil || namespace != own {
			continue
		}
		process, _ := inspect(pid, "")
		if process.Component != "" {
			continue
		}
		for _, executable := range executables {
			if process.Executable == executable {
				found = append(found, process)
			}
		}
	}
	return found, nil
}
