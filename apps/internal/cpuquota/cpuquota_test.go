package cpuquota_test

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"headroom.dev/apps/internal/cpuquota"
)

func TestCores(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  float64
		err   string
	}{
		{"no cgroups at all", nil, 8, ""},
		{"version 2, in a container", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n",
		}, 1.5, ""},
		{"version 2, no limit", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n",
		}, 8, ""},
		{"version 2, the outer group is the tighter one", map[string]string{
			"proc/self/cgroup":                           "0::/user.slice/job.scope\n",
			"sys/fs/cgroup/user.slice/cpu.max":           "50000 100000\n",
			"sys/fs/cgroup/user.slice/job.scope/cpu.max": "200000 100000\n",
		}, 0.5, ""},
		{"version 1, in a container that sees the host's path", map[string]string{
			"proc/self/cgroup":                    "4:memory:/kubepods/pod1/c1\n3:cpu,cpuacct:/kubepods/pod1/c1\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":  "30000\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
		}, 0.3, ""},
		{"version 1, cpu and cpuacct mounted together", map[string]string{
			"proc/self/cgroup":                            "3:cpu,cpuacct:/\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":  "200000\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
		}, 2, ""},
		{"version 1, no limit", map[string]string{
			"proc/self/cgroup":                    "1:cpu:/\n0::/\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":  "-1\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
		}, 8, ""},
		{"a quota of more than the machine has", map[string]string{
			"sys/fs/cgroup/cpu.max": "6400000 100000\n",
		}, 8, ""},
		{"cpu.max that can't be read", map[string]string{
			"sys/fs/cgroup/cpu.max": "lots\n",
		}, 0, `/sys/fs/cgroup/cpu.max has "lots\n"; expected a quota or max, and a period`},
		{"a quota that can't be read", map[string]string{
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "lots\n",
		}, 0, `/sys/fs/cgroup/cpu/cpu.cfs_quota_us has "lots\n"; expected a number`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range test.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			got, err := cpuquota.Cores(root, 8)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if got != test.want || message != test.err {
				t.Errorf("got %v, %q, want %v, %q", got, message, test.want, test.err)
			}
		})
	}
}

func TestCoresOfThisProcess(t *testing.T) {
	got, err := cpuquota.Cores(os.DirFS("/"), runtime.NumCPU())
	if err != nil || got <= 0 || got > float64(runtime.NumCPU()) {
		t.Errorf("got %v cores, %v", got, err)
	}
}

func TestTheLimitOfAFile(t *testing.T) {
	for text, want := range map[string]float64{"15000 100000\n": 0.15, "max 100000\n": 8, "900000 100000": 8} {
		files := fstest.MapFS{"run/cpu.max": {Data: []byte(text)}}
		if cores, err := cpuquota.File(files, "run/cpu.max", 8); err != nil || cores != want {
			t.Errorf("%q: %v cores, %v; want %v", text, cores, err, want)
		}
	}
	for name, files := range map[string]fstest.MapFS{"none": {}, "bad": {"run/cpu.max": {Data: []byte("15%")}}} {
		if cores, err := cpuquota.File(files, "run/cpu.max", 8); err == nil || !strings.Contains(err.Error(), "/run/cpu.max") {
			t.Errorf("%s: %v cores, %v; want an error that names the file", name, cores, err)
		}
	}
}
