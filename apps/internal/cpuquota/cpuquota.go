// Package cpuquota reads how much CPU time a process's cgroup allows it.
package cpuquota

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Cores returns the CPU cores that the calling process may use: the smallest
// quota of its cgroup and the groups around it, at most machine, the machine's
// cores. root is the root of the file system. Version 2 keeps the quota in
// cpu.max, version 1 in cpu.cfs_quota_us and cpu.cfs_period_us.
//
// In a container the path in /proc/self/cgroup may be the host's while only
// the container's own group is mounted; so every group from that path up to
// the mount's root is looked at, and those that are not there are skipped.
func Cores(root fs.FS, machine int) (float64, error) {
	v1, v2, err := groups(root)
	if err != nil {
		return 0, err
	}
	cores := float64(machine)
	for _, mount := range []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"} {
		for _, group := range upwards(v2) {
			quota, limited, err := quotaV2(root, path.Join(mount, group))
			if err != nil {
				return 0, err
			}
			if limited {
				cores = min(cores, quota)
			}
		}
	}
	for _, mount := range []string{"sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"} {
		for _, group := range upwards(v1) {
			quota, limited, err := quotaV1(root, path.Join(mount, group))
			if err != nil {
				return 0, err
			}
			if limited {
				cores = min(cores, quota)
			}
		}
	}
	return cores, nil
}

// File returns the CPU cores that a file tells in the format of version 2's cpu.max,
// at most machine. It is for a process that something else than a cgroup limits.
func File(root fs.FS, name string, machine int) (float64, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, fmt.Errorf("reading /%s: %w", name, err)
	}
	cores, limited, err := parseV2(name, text)
	if err != nil || !limited {
		return float64(machine), err
	}
	return min(cores, float64(machine)), nil
}

// groups reads the process's groups from lines of hierarchy:controllers:path.
func groups(root fs.FS) (v1, v2 string, err error) {
	v1, v2 = "/", "/"
	const name = "proc/self/cgroup"
	text, err := fs.ReadFile(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return v1, v2, nil
	}
	if err != nil {
		return "", "", fmt.Errorf("reading /%s: %w", name, err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[0] == "0" && fields[1] == "":
			v2 = fields[2]
		case slices.Contains(strings.Split(fields[1], ","), "cpu"):
			v1 = fields[2]
		}
	}
	return v1, v2, nil
}

// upwards lists group and the groups around it, without a leading slash.
func upwards(group string) []string {
	group = path.Clean("/" + group)
	var result []string
	for ; group != "/"; group = path.Dir(group) {
		result = append(result, strings.TrimPrefix(group, "/"))
	}
	return append(result, "")
}

func quotaV2(root fs.FS, group string) (cores float64, limited bool, err error) {
	name := path.Join(group, "cpu.max")
	text, err := fs.ReadFile(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("reading /%s: %w", name, err)
	}
	return parseV2(name, text)
}

func parseV2(name string, text []byte) (cores float64, limited bool, err error) {
	fields := strings.Fields(string(text))
	if len(fields) == 2 && fields[0] == "max" {
		return 0, false, nil
	}
	if len(fields) == 2 {
		quota, errQuota := strconv.ParseFloat(fields[0], 64)
		period, errPeriod := strconv.ParseFloat(fields[1], 64)
		if errQuota == nil && errPeriod == nil && quota > 0 && period > 0 {
			return quota / period, true, nil
		}
	}
	return 0, false, fmt.Errorf("/%s has %q; expected a quota or max, and a period", name, text)
}

func quotaV1(root fs.FS, group string) (cores float64, limited bool, err error) {
	quota, there, err := number(root, path.Join(group, "cpu.cfs_quota_us"))
	if err != nil || !there || quota <= 0 {
		return 0, false, err
	}
	period, there, err := number(root, path.Join(group, "cpu.cfs_period_us"))
	if err != nil || !there || period <= 0 {
		return 0, false, err
	}
	return quota / period, true, nil
}

func number(root fs.FS, name string) (value float64, there bool, err error) {
	text, err := fs.ReadFile(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("reading /%s: %w", name, err)
	}
	value, err = strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		return 0, false, fmt.Errorf("/%s has %q; expected a number", name, text)
	}
	return value, true, nil
}
