// Package redis runs the Redis that holds the request queue, or connects to one
// that is there already.
//
// Alone it is one pod with an append-only file: the queue survives a restart of
// Redis, and on a volume of its own also the loss of the pod. With replicas
// there are further pods with a copy of the data, and three sentinels that have
// one of them take over.
package redis

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/workload"
)

// The names of the components. Name is that of a Redis without replicas.
const (
	Name         = "redis"
	NodeName     = "redis-node"
	SentinelName = "redis-sentinel"
)

// The ports of Redis, of a sentinel, and of the exporter beside Redis.
var (
	Port         = workload.Port{Name: "redis", Number: 6379}
	SentinelPort = workload.Port{Name: "sentinel", Number: 26379}
	MetricsPort  = workload.Port{Name: workload.MetricsPort, Number: 9121}
)

// What Connection.Mode may be.
const (
	Standalone = "standalone"
	Sentinel   = "sentinel"
	Cluster    = "cluster"
)

const (
	secretFolder      = "/etc/redis-secret"
	configKey         = "redis.conf"
	passwordKey       = "password"
	secondPasswordKey = "second-password"
	sentinelKey       = "sentinel-password"

	tlsFolder = "/etc/redis-tls"
	// CAKey is the key of a TLS Secret under which the authority's certificate is.
	CAKey = "ca.crt"
)

// Args configure Redis.
type Args struct {
	Namespace              workload.Namespace
	Image, ImagePullPolicy string
	ClusterDomain          string // such as cluster.local
	MaxMemory              int64  // bytes; writes are refused beyond it, nothing is evicted
	Password               string // empty: generated once, then kept
	SecondPassword         string // accepted too; empty: none. Only with Password
	Replicas               int    // of the data, besides the one that is written to
	Storage                workload.Storage
	Scratch                int64              // mebibytes of a volume that goes with its pod, where there is no Storage
	TLSSecret              string             // with ca.crt, tls.crt and tls.key; empty: no TLS
	ExporterImage          string             // empty: no metrics
	Placement              workload.Placement // of one of several pods
}

// Connection is what a client of Redis needs.
type Connection struct {
	URL      string             // without a password
	Mode     string             // what it leads to: Standalone, Sentinel or Cluster
	Env      corev1.EnvVarArray // REDIS_PASSWORD and REDIS_SENTINEL_PASSWORD, each from a Secret, where there is one
	CASecret string             // Secret whose CAKey is the authority of Redis' certificate; empty: the system's, or there is no TLS
	Version  pulumi.StringInput // changes with the password; nil where nobody tells
}

// Redis is the component.
type Redis struct {
	pulumi.ResourceState

	Connection Connection
}

// Monitored is the component whose pods have the exporter.
func Monitored(replicas int) string {
	if replicas > 0 {
		return NodeName
	}
	return Name
}

// New makes a Redis.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Redis, error) {
	r, err := register(ctx, args.Namespace, opts...)
	if err != nil {
		return nil, err
	}
	secret, err := newSecret(ctx, args, pulumi.Parent(r))
	if err != nil {
		return nil, err
	}
	p := parts{Args: args, secretName: secret.Metadata.Name().Elem(), version: secret.Metadata.ResourceVersion().Elem()}
	p.mebibytes = (args.MaxMemory + 1<<20 - 1) >> 20
	r.Connection = Connection{CASecret: args.TLSSecret, Version: p.version}
	if args.Replicas > 0 {
		err = p.replicated(ctx, &r.Connection, pulumi.Parent(r))
	} else {
		err = p.alone(ctx, &r.Connection, pulumi.Parent(r))
	}
	if err != nil {
		return nil, err
	}
	if args.ExporterImage != "" {
		if err := workload.NewMetricsService(ctx, args.Namespace, Monitored(args.Replicas), MetricsPort, pulumi.Parent(r)); err != nil {
			return nil, err
		}
	}
	return r, ctx.RegisterResourceOutputs(r, pulumi.Map{"url": pulumi.String(r.Connection.URL)})
}

// External is a Redis that somebody else runs.
type External struct {
	Namespace      workload.Namespace
	URL, Mode      string
	Password       string // empty: that of PasswordSecret, or none
	PasswordSecret string // Secret with password, and perhaps sentinel-password; empty: Password
	CASecret       string // Secret with ca.crt; empty: the system's authorities
}

// Connect makes at most a Secret for the password.
func Connect(ctx *pulumi.Context, args External, opts ...pulumi.ResourceOption) (*Redis, error) {
	r, err := register(ctx, args.Namespace, opts...)
	if err != nil {
		return nil, err
	}
	r.Connection = Connection{URL: args.URL, Mode: args.Mode, CASecret: args.CASecret}
	var name pulumi.StringInput
	switch {
	case args.PasswordSecret != "":
		name = pulumi.String(args.PasswordSecret)
	case args.Password != "":
		secret, err := newPasswords(ctx, args.Namespace, pulumi.StringMap{passwordKey: encoded(args.Password)}, pulumi.Parent(r))
		if err != nil {
			return nil, err
		}
		name = secret.Metadata.Name().Elem()
		r.Connection.Version = secret.Metadata.ResourceVersion().Elem()
	}
	if name != nil {
		r.Connection.Env = corev1.EnvVarArray{variable("REDIS_PASSWORD", name, passwordKey, false)}
		if args.Mode == Sentinel {
			r.Connection.Env = append(r.Connection.Env, variable("REDIS_SENTINEL_PASSWORD", name, sentinelKey, true))
		}
	}
	return r, ctx.RegisterResourceOutputs(r, pulumi.Map{"url": pulumi.String(r.Connection.URL)})
}

func register(ctx *pulumi.Context, ns workload.Namespace, opts ...pulumi.ResourceOption) (*Redis, error) {
	r := &Redis{}
	if err := ctx.RegisterComponentResource("headroom:infra:Redis", ns.Resource(Name), r, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	return r, nil
}

// parts is what the pods of a Redis have in common.
type parts struct {
	Args
	secretName, version pulumi.StringOutput
	mebibytes           int64
}

// alone is one pod behind a Service.
func (p parts) alone(ctx *pulumi.Context, connection *Connection, opts ...pulumi.ResourceOption) error {
	connection.Mode = Standalone
	connection.URL = fmt.Sprintf("redis://%s:%d/0", Name, Port.Number)
	if p.TLSSecret != "" {
		connection.URL = fmt.Sprintf("rediss://%s.%s.svc.%s:%d/0", Name, p.Namespace.Name, p.ClusterDomain, Port.Number)
	}
	connection.Env = corev1.EnvVarArray{p.password("REDIS_PASSWORD")}

	data := workload.EmptyDir(fmt.Sprintf("%dMi", p.Scratch))
	if p.Storage.Used() {
		claim, err := workload.NewClaim(ctx, p.Namespace, Name, Name, p.Storage, opts...)
		if err != nil {
			return err
		}
		data = workload.ClaimVolume(claim)
	}
	one := 1
	_, err := workload.NewDeployment(ctx, workload.Args{
		Namespace:       p.Namespace,
		Name:            Name,
		Replicas:        &one,
		Recreate:        true, // two would write the same keys
		Image:           p.Image,
		ImagePullPolicy: p.ImagePullPolicy,
		Command:         []string{"redis-server", secretFolder + "/" + configKey},
		Args:            append(p.settings(), p.listen(Port)...),
		Env:             corev1.EnvVarArray{p.password("REDISCLI_AUTH")},
		Ports:           []workload.Port{Port},
		Resources:       p.resources(),
		// -e: an error reply (still loading, wrong password) is a failure.
		Readiness:   workload.ExecProbe(workload.Cadence{Period: 5, Timeout: 3, Failures: 3}, p.client("-e", "ping")...),
		Liveness:    workload.ExecProbe(workload.Cadence{Period: 10, Timeout: 5, Failures: 6}, p.client("ping")...),
		GracePeriod: 30,
		Annotations: pulumi.StringMap{"headroom.dev/secret-version": p.version},
		Sidecars:    p.exporter(),
		Placement:   p.Placement.Alone(),
		Volumes: append([]workload.Volume{
			{Name: "data", Path: "/data", Source: data},
			{Name: "secret", Path: secretFolder, ReadOnly: true, Source: p.secretVolume(configKey)},
		}, p.certificates()...),
	}, opts...)
	if err != nil {
		return err
	}
	_, err = workload.NewService(ctx, p.Namespace, Name, Port, workload.Internal(), opts...)
	return err
}

// settings are those of every Redis with the queue's data.
func (p parts) settings() []string {
	return []string{
		"--dir", "/data", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
		"--maxmemory", strconv.FormatInt(p.MaxMemory, 10), "--maxmemory-policy", "noeviction",
	}
}

// listen has Redis or a sentinel speak TLS on the port, and nothing else; without
// TLS the port is Redis' own.
func (p parts) listen(port workload.Port) []string {
	if p.TLSSecret == "" {
		return nil
	}
	return []string{
		"--port", "0", "--tls-port", strconv.Itoa(port.Number),
		"--tls-ca-cert-file", tlsFolder + "/" + CAKey, "--tls-cert-file", tlsFolder + "/tls.crt", "--tls-key-file", tlsFolder + "/tls.key",
		"--tls-auth-clients", "no", // who knows the password is a client
		"--tls-replication", "yes",
	}
}

// client is redis-cli in a pod, which asks Redis there.
func (p parts) client(args ...string) []string {
	command := []string{"redis-cli"}
	if p.TLSSecret != "" {
		command = append(command, "--tls", "--cacert", tlsFolder+"/"+CAKey)
	}
	return append(command, args...)
}

func (p parts) resources() workload.Resources {
	return workload.Resources{
		CPURequest: "50m", CPULimit: "1",
		MemoryRequest: fmt.Sprintf("%dMi", p.mebibytes+32),
		// Rewriting the append-only file forks: pages written meanwhile exist twice.
		MemoryLimit: fmt.Sprintf("%dMi", 2*p.mebibytes+64),
	}
}

// secretVolume shows keys of the Secret as files of the same name; all of them
// where none is named.
func (p parts) secretVolume(keys ...string) corev1.VolumeArgs {
	source := corev1.SecretVolumeSourceArgs{SecretName: p.secretName, DefaultMode: pulumi.Int(0o440)}
	if keys != nil {
		source.Items = items(keys...)
	}
	return corev1.VolumeArgs{Secret: source}
}

func (p parts) certificates() []workload.Volume {
	if p.TLSSecret == "" {
		return nil
	}
	return []workload.Volume{{Name: "tls", Path: tlsFolder, ReadOnly: true, Source: corev1.VolumeArgs{Secret: corev1.SecretVolumeSourceArgs{
		SecretName: pulumi.String(p.TLSSecret), DefaultMode: pulumi.Int(0o440), Items: items(CAKey, "tls.crt", "tls.key"),
	}}}}
}

func items(keys ...string) corev1.KeyToPathArray {
	var all corev1.KeyToPathArray
	for _, key := range keys {
		all = append(all, corev1.KeyToPathArgs{Key: pulumi.String(key), Path: pulumi.String(key)})
	}
	return all
}

// exporter tells Prometheus about the Redis in its pod.
func (p parts) exporter() []workload.Sidecar {
	if p.ExporterImage == "" {
		return nil
	}
	args := []string{fmt.Sprintf("--redis.addr=redis://127.0.0.1:%d", Port.Number)}
	if p.TLSSecret != "" {
		// Few certificates are for 127.0.0.1, which nobody else can be.
		args = []string{fmt.Sprintf("--redis.addr=rediss://127.0.0.1:%d", Port.Number), "--skip-tls-verification"}
	}
	return []workload.Sidecar{{
		Name:      "exporter",
		Image:     p.ExporterImage,
		Args:      append(args, fmt.Sprintf("--web.listen-address=:%d", MetricsPort.Number)),
		Env:       corev1.EnvVarArray{p.password("REDIS_PASSWORD")},
		Ports:     []workload.Port{MetricsPort},
		Resources: workload.Resources{CPURequest: "10m", CPULimit: "200m", MemoryRequest: "32Mi", MemoryLimit: "64Mi"},
		Liveness:  workload.HTTPProbe("/health", MetricsPort.Name, workload.Cadence{Period: 10, Timeout: 5, Failures: 6}),
	}}
}

// newSecret holds the password twice: for clients, and as the config file that
// a Redis without replicas reads, so that it is in no command line.
func newSecret(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*corev1.Secret, error) {
	password := args.Password
	if password == "" {
		password = rand.Text()
		// Only the one generated when the Secret is made counts.
		opts = append(opts, pulumi.IgnoreChanges([]string{"data"}))
	}
	data := pulumi.StringMap{
		passwordKey: encoded(password),
		configKey:   encoded(fmt.Sprintf("requirepass \"%s\"\n", password)),
	}
	if second := args.SecondPassword; second != "" {
		data[secondPasswordKey] = encoded(second)
		data[configKey] = encoded(fmt.Sprintf("user default on sanitize-payload ~* &* +@all \">%s\" \">%s\"\n", password, second))
	}
	return newPasswords(ctx, args.Namespace, data, opts...)
}

func newPasswords(ctx *pulumi.Context, ns workload.Namespace, data pulumi.StringMap, opts ...pulumi.ResourceOption) (*corev1.Secret, error) {
	secret, err := corev1.NewSecret(ctx, ns.Resource(Name), &corev1.SecretArgs{
		Metadata: workload.Metadata(ns, Name, Name),
		Type:     pulumi.String("Opaque"),
		Data:     pulumi.ToSecret(data).(pulumi.StringMapOutput),
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("making the Secret %s: %w", Name, err)
	}
	return secret, nil
}

func encoded(text string) pulumi.String {
	return pulumi.String(base64.StdEncoding.EncodeToString([]byte(text)))
}

func (p parts) password(name string) corev1.EnvVarArgs {
	return variable(name, p.secretName, passwordKey, false)
}

// variable is one whose value is a Secret's; optional: there is none where the
// Secret lacks the key.
func variable(name string, secret pulumi.StringInput, key string, optional bool) corev1.EnvVarArgs {
	selector := corev1.SecretKeySelectorArgs{Name: secret.ToStringOutput(), Key: pulumi.String(key)}
	if optional {
		selector.Optional = pulumi.Bool(true)
	}
	return corev1.EnvVarArgs{Name: pulumi.String(name), ValueFrom: corev1.EnvVarSourceArgs{SecretKeyRef: selector}}
}
