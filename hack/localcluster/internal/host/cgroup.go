package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// hierarchies are the mount points of the cgroup hierarchies, version 1 and 2.
func hierarchies() ([]mount, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer func() { _ = file.Close() }()
	mounts, err := parseMounts(file)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(mounts, func(m mount) bool { return m.kind != "cgroup" && m.kind != "cgroup2" }), nil
}

// CreateCgroup makes the cgroup, an absolute path within the hierarchies, in
// all of them, ready to have children with limits.
func CreateCgroup(cgroup string) error {
	mounts, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range mounts {
		dir := filepath.Join(hierarchy.point, cgroup)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create cgroup: %w", err)
		}
		switch {
		case hierarchy.kind == "cgroup2":
			err = delegate(hierarchy.point, dir)
		case slices.Contains(strings.Split(hierarchy.options, ","), "cpuset"):
			err = inheritCPUs(hierarchy.point, dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inheritCPUs fills in what version 1 leaves empty in a new cpuset, so that no
// process could join it.
func inheritCPUs(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("read cgroup: %w", err)
		}
		if len(bytes.TrimSpace(own)) > 0 {
			continue
		}
		value, err := os.ReadFile(filepath.Join(parent, name))
		if err != nil {
			return fmt.Errorf("read cgroup: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0o644); err != nil {
			return fmt.Errorf("set up cgroup: %w", err)
		}
	}
	return nil
}

// delegate hands the controllers that version 2 has down to dir and to its
// children. One that the kernel won't hand down is left: kubelet names the ones
// that it can't do without.
func delegate(parent, dir string) error {
	controllers, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read cgroup: %w", err)
	}
	for controller := range strings.FieldsSeq(string(controllers)) {
		for _, at := range []string{parent, dir} {
			_ = os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
		}
	}
	return nil
}

// Cgroups are the directories of the cgroup and of those below it, in all
// hierarchies, children before their parents.
func Cgroups(cgroup string) ([]string, error) {
	mounts, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, hierarchy := range mounts {
		var here []string
		err := filepath.WalkDir(filepath.Join(hierarchy.point, cgroup), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && entry.IsDir() {
				here = append(here, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list cgroups: %w", err)
		}
		slices.Reverse(here)
		found = append(found, here...)
	}
	return found, nil
}

// RemoveCgroup removes the cgroup and those below it, in all hierarchies. The
// kernel counts a process out a moment after its end, so it tries until ctx
// ends.
func RemoveCgroup(ctx context.Context, cgroup string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		dirs, err := Cgroups(cgroup)
		if err != nil || len(dirs) == 0 {
			return err
		}
		var busy error
		for _, dir := range dirs {
			err := syscall.Rmdir(dir)
			if err != nil && !errors.Is(err, syscall.ENOENT) {
				busy = fmt.Errorf("remove cgroup %s: %w", dir, err)
			}
		}
		if busy == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return busy
		}
	}
}
