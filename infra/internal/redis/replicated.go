package redis

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/workload"
)

const (
	// master is what the sentinels call the node that is written to.
	master = "headroom"

	// sentinels is how many there are, and quorum how many must miss the master:
	// with one of them lost two are left, which is also the majority that elects
	// who carries the failover out.
	sentinels = 3
	quorum    = 2

	// downAfter is how many milliseconds without an answer are the master's end.
	downAfter = 5000

	scriptFolder = "/etc/redis-scripts"
	scriptKey    = "redis.sh"
	runFolder    = "/run/redis"
)

//go:embed redis.sh
var script string

// replicated is a master, its replicas, and sentinels. Which node is the master
// only the sentinels know.
func (p parts) replicated(ctx *pulumi.Context, connection *Connection, opts ...pulumi.ResourceOption) error {
	scheme := "redis"
	if p.TLSSecret != "" {
		scheme = "rediss"
	}
	connection.Mode = Sentinel
	connection.Env = corev1.EnvVarArray{p.password("REDIS_PASSWORD"), p.password("REDIS_SENTINEL_PASSWORD")}
	for i, host := range p.hosts(SentinelName, sentinels) {
		if i == 0 {
			connection.URL = fmt.Sprintf("%s://%s:%d/0?master_name=%s", scheme, host, SentinelPort.Number, master)
		} else {
			connection.URL += fmt.Sprintf("&addr=%s:%d", host, SentinelPort.Number)
		}
	}

	scripts, err := corev1.NewConfigMap(ctx, p.Namespace.Resource(Name), &corev1.ConfigMapArgs{
		Metadata: workload.Metadata(p.Namespace, Name, Name),
		Data:     pulumi.StringMap{scriptKey: pulumi.String(script)},
	}, opts...)
	if err != nil {
		return fmt.Errorf("making the ConfigMap %s: %w", Name, err)
	}
	if err := p.nodes(ctx, scripts, opts...); err != nil {
		return err
	}
	return p.sentinels(ctx, scripts, opts...)
}

func (p parts) nodes(ctx *pulumi.Context, scripts *corev1.ConfigMap, opts ...pulumi.ResourceOption) error {
	settings := append(p.settings(),
		"--port", strconv.Itoa(Port.Number),
		// After a short break a replica needs no whole copy. It counts as data.
		"--repl-backlog-size", strconv.FormatInt(p.MaxMemory/16, 10),
		"--repl-diskless-sync-delay", "0")
	if p.Replicas > 1 {
		// One that is cut off from all replicas may have been replaced: what it
		// takes would be lost.
		settings = append(settings, "--min-replicas-to-write", "1", "--min-replicas-max-lag", "10")
	}
	data := workload.Volume{Name: "data", Path: "/data", Claimed: true}
	if !p.Storage.Used() {
		data = workload.Volume{Name: "data", Path: "/data", Source: workload.EmptyDir(fmt.Sprintf("%dMi", p.Scratch))}
	}
	args := p.pod(NodeName, scripts)
	count := 1 + p.Replicas
	args.Replicas = &count
	args.Args = append(args.Args, append(settings, p.listen(Port)...)...)
	args.Ports = []workload.Port{Port}
	args.Resources = p.resources()
	args.Liveness = workload.ExecProbe(workload.Cadence{Period: 10, Timeout: 5, Failures: 6}, p.client("ping")...)
	args.PreStop = []string{"sh", scriptFolder + "/" + scriptKey, "node-stop"}
	args.GracePeriod = 60
	args.Sidecars = p.exporter()
	args.Volumes = append(args.Volumes, data,
		workload.Volume{Name: "run", Path: runFolder, Source: workload.EmptyDir("16Mi")})
	_, err := workload.NewStatefulSet(ctx, args, Port, p.Storage, opts...)
	return err
}

func (p parts) sentinels(ctx *pulumi.Context, scripts *corev1.ConfigMap, opts ...pulumi.ResourceOption) error {
	args := p.pod(SentinelName, scripts)
	count := sentinels
	args.Replicas = &count
	args.Args = append(args.Args, append([]string{"--dir", "/data", "--port", strconv.Itoa(SentinelPort.Number)}, p.listen(SentinelPort)...)...)
	args.Ports = []workload.Port{SentinelPort}
	args.Resources = workload.Resources{CPURequest: "20m", CPULimit: "200m", MemoryRequest: "32Mi", MemoryLimit: "64Mi"}
	args.Liveness = workload.ExecProbe(workload.Cadence{Period: 10, Timeout: 5, Failures: 6},
		p.client("-p", strconv.Itoa(SentinelPort.Number), "ping")...)
	args.GracePeriod = 10
	// What it knows it learns again from the others.
	args.Volumes = append(args.Volumes, workload.Volume{Name: "data", Path: "/data", Source: workload.EmptyDir("16Mi")})
	_, err := workload.NewStatefulSet(ctx, args, SentinelPort, workload.Storage{}, opts...)
	return err
}

// pod is what nodes and sentinels have in common. The script's command is the
// component's name without its first part.
func (p parts) pod(component string, scripts *corev1.ConfigMap) workload.Args {
	command := strings.TrimPrefix(component, Name+"-")
	path := scriptFolder + "/" + scriptKey
	ca := ""
	if p.TLSSecret != "" {
		ca = tlsFolder + "/" + CAKey
	}
	env := corev1.EnvVarArray{
		p.password("REDISCLI_AUTH"),
		corev1.EnvVarArgs{Name: pulumi.String("POD"), ValueFrom: corev1.EnvVarSourceArgs{
			FieldRef: corev1.ObjectFieldSelectorArgs{FieldPath: pulumi.String("metadata.name")},
		}},
	}
	for _, v := range [][2]string{
		{"SELF", "$(POD)." + p.domain(component)},
		{"LOCAL", "127.0.0.1"},
		{"NODES", strings.Join(p.hosts(NodeName, 1+p.Replicas), " ")},
		{"SENTINELS", strings.Join(p.hosts(SentinelName, sentinels), " ")},
		{"PORT", strconv.Itoa(Port.Number)},
		{"SENTINEL_PORT", strconv.Itoa(SentinelPort.Number)},
		{"MASTER", master},
		{"QUORUM", strconv.Itoa(quorum)},
		{"DOWN_AFTER", strconv.Itoa(downAfter)},
		{"DATA", "/data"}, {"RUN", runFolder}, {"SECRETS", secretFolder}, {"CA", ca},
	} {
		env = append(env, corev1.EnvVarArgs{Name: pulumi.String(v[0]), Value: pulumi.String(v[1])})
	}
	return workload.Args{
		Namespace:       p.Namespace,
		Name:            component,
		Image:           p.Image,
		ImagePullPolicy: p.ImagePullPolicy,
		Command:         []string{"sh", path, command},
		Env:             env,
		Readiness:       workload.ExecProbe(workload.Cadence{Period: 5, Timeout: 10, Failures: 3}, "sh", path, command+"-ready"),
		Annotations: pulumi.StringMap{
			"headroom.dev/secret-version":  p.version,
			"headroom.dev/config-checksum": pulumi.String(workload.Checksum(script)),
		},
		Placement: p.Placement,
		Volumes: append([]workload.Volume{
			{Name: "secret", Path: secretFolder, ReadOnly: true, Source: p.secretVolume()},
			{Name: "scripts", Path: scriptFolder, ReadOnly: true, Source: workload.ConfigMapVolume(scripts)},
		}, p.certificates()...),
	}
}

// domain is where the pods of a StatefulSet have their names.
func (p parts) domain(component string) string {
	return fmt.Sprintf("%s.%s.svc.%s", component, p.Namespace.Name, p.ClusterDomain)
}

func (p parts) hosts(component string, count int) []string {
	hosts := make([]string, count)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("%s-%d.%s", component, i, p.domain(component))
	}
	return hosts
}
