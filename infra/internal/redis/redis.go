// Package redis runs the Redis that holds the request queue.
//
// One pod with an append-only file on a volume of its own: the queue survives
// a restart of Redis, not the loss of the pod.
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

// Name is the name of everything here, also of the Service.
const Name = "redis"

// Port is the one that the Service serves.
var Port = workload.Port{Name: "redis", Number: 6379}

const (
	secretFolder = "/etc/redis-secret"
	configKey    = "redis.conf"
	passwordKey  = "password"
)

// Args configure Redis.
type Args struct {
	Namespace              workload.Namespace
	Image, ImagePullPolicy string
	MaxMemory              int64  // bytes; writes are refused beyond it, nothing is evicted
	Password               string // empty: generated once, then kept
}

// Redis is the component.
type Redis struct {
	pulumi.ResourceState

	URL      string              // without the password
	Password corev1.EnvVarArgs   // the variable REDIS_PASSWORD, from the Secret
	Version  pulumi.StringOutput // changes with the password
}

// New makes the Secret, the Deployment and the Service.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Redis, error) {
	r := &Redis{}
	if err := ctx.RegisterComponentResource("headroom:infra:Redis", Name, r, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	secret, err := newSecret(ctx, args, pulumi.Parent(r))
	if err != nil {
		return nil, err
	}
	secretName := secret.Metadata.Name().Elem()
	r.URL = fmt.Sprintf("redis://%s:%d/0", Name, Port.Number)
	r.Password = passwordVariable("REDIS_PASSWORD", secretName)
	r.Version = secret.Metadata.ResourceVersion().Elem()

	mebibytes := (args.MaxMemory + 1<<20 - 1) >> 20
	one := 1
	_, err = workload.NewDeployment(ctx, workload.Args{
		Namespace:       args.Namespace,
		Name:            Name,
		Replicas:        &one,
		Recreate:        true, // two would write the same keys
		Image:           args.Image,
		ImagePullPolicy: args.ImagePullPolicy,
		Command:         []string{"redis-server", secretFolder + "/" + configKey},
		Args: []string{
			"--dir", "/data", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
			"--maxmemory", strconv.FormatInt(args.MaxMemory, 10), "--maxmemory-policy", "noeviction",
		},
		Env:   corev1.EnvVarArray{passwordVariable("REDISCLI_AUTH", secretName)},
		Ports: []workload.Port{Port},
		Resources: workload.Resources{
			CPURequest: "50m", CPULimit: "1",
			MemoryRequest: fmt.Sprintf("%dMi", mebibytes+32),
			// Rewriting the append-only file forks: pages written meanwhile exist twice.
			MemoryLimit: fmt.Sprintf("%dMi", 2*mebibytes+64),
		},
		// -e: an error reply (still loading, wrong password) is a failure.
		Readiness:   workload.ExecProbe(workload.Cadence{Period: 5, Timeout: 3, Failures: 3}, "redis-cli", "-e", "ping"),
		Liveness:    workload.ExecProbe(workload.Cadence{Period: 10, Timeout: 5, Failures: 6}, "redis-cli", "ping"),
		GracePeriod: 30,
		Annotations: pulumi.StringMap{"headroom.dev/secret-version": r.Version},
		Volumes: []workload.Volume{
			{Name: "data", Path: "/data", Source: workload.EmptyDir(fmt.Sprintf("%dMi", 4*mebibytes+1024))},
			{Name: "secret", Path: secretFolder, ReadOnly: true, Source: corev1.VolumeArgs{
				Secret: corev1.SecretVolumeSourceArgs{
					SecretName:  secretName,
					DefaultMode: pulumi.Int(0o440),
					Items:       corev1.KeyToPathArray{corev1.KeyToPathArgs{Key: pulumi.String(configKey), Path: pulumi.String(configKey)}},
				},
			}},
		},
	}, pulumi.Parent(r))
	if err != nil {
		return nil, err
	}
	if _, err := workload.NewService(ctx, args.Namespace, Name, Port, workload.Internal(), pulumi.Parent(r)); err != nil {
		return nil, err
	}
	return r, ctx.RegisterResourceOutputs(r, pulumi.Map{"url": pulumi.String(r.URL)})
}

// newSecret holds the password twice: for clients, and as the config file that
// Redis reads, so that it is in no command line.
func newSecret(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*corev1.Secret, error) {
	password := args.Password
	if password == "" {
		password = rand.Text()
		// Only the one generated when the Secret is made counts.
		opts = append(opts, pulumi.IgnoreChanges([]string{"data"}))
	}
	secret, err := corev1.NewSecret(ctx, Name, &corev1.SecretArgs{
		Metadata: workload.Metadata(args.Namespace, Name, Name),
		Type:     pulumi.String("Opaque"),
		Data: pulumi.ToSecret(pulumi.StringMap{
			passwordKey: encoded(password),
			configKey:   encoded(fmt.Sprintf("requirepass \"%s\"\n", password)),
		}).(pulumi.StringMapOutput),
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("making the Secret %s: %w", Name, err)
	}
	return secret, nil
}

func encoded(text string) pulumi.String {
	return pulumi.String(base64.StdEncoding.EncodeToString([]byte(text)))
}

func passwordVariable(name string, secretName pulumi.StringInput) corev1.EnvVarArgs {
	return corev1.EnvVarArgs{
		Name: pulumi.String(name),
		ValueFrom: corev1.EnvVarSourceArgs{SecretKeyRef: corev1.SecretKeySelectorArgs{
			Name: secretName.ToStringOutput(), Key: pulumi.String(passwordKey),
		}},
	}
}
