// Package prometheus runs the Prometheus that scrapes headroom's pods and
// watches over its rules.
package prometheus

import (
	"fmt"
	"strings"
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/workload"
)

// Name is the name of everything here, also of the Service, and the job of what
// Prometheus tells of itself.
const Name = "prometheus"

// Port is the one that the Service serves.
var Port = workload.Port{Name: "http", Number: 9090}

const (
	configFolder = "/etc/prometheus"
	configKey    = "prometheus.yml"
	rulesKey     = "rules.yml"
	selfKey      = "self.yml"
)

// Args configure Prometheus.
type Args struct {
	Namespace              workload.Namespace
	Image, ImagePullPolicy string
	ScrapeInterval         time.Duration // whole milliseconds, at least 1s
	Retention              string        // such as 6h
	RetentionSize          string        // such as 1GB
	Storage                workload.Storage
	Scratch                string // quantity: the most that is written where there is no Storage
	Rules                  string // the rule file
	Alertmanager           string // URL; empty: nobody is told of alerts
	Exposure               workload.Exposure
	ClusterDomain          string // such as cluster.local
	Targets                []Target
	Placement              workload.Placement

	// Facts are labels of Prometheus' own series. Rules can go by them where they
	// depend on what may change while Prometheus runs: it takes in a change of these
	// without a restart, which would cost it its data.
	Facts map[string]string
}

// Target is a component whose pods are scraped.
type Target struct {
	Job     string // the label job of what is scraped
	Service string // a headless Service, whose addresses are the pods
	Port    int
}

// Prometheus is the component.
type Prometheus struct {
	pulumi.ResourceState

	ClusterURL string              // as reached from inside the cluster
	URL        pulumi.StringOutput // as reached from outside
}

// New makes the config, the volume, the Deployment and the Service.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Prometheus, error) {
	p := &Prometheus{}
	if err := ctx.RegisterComponentResource("headroom:infra:Prometheus", args.Namespace.Resource(Name), p, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	config, err := renderConfig(args)
	if err != nil {
		return nil, err
	}
	self, err := renderSelf(args.Facts)
	if err != nil {
		return nil, err
	}
	configMap, err := corev1.NewConfigMap(ctx, args.Namespace.Resource(Name), &corev1.ConfigMapArgs{
		Metadata: workload.Metadata(args.Namespace, Name, Name),
		Data: pulumi.StringMap{
			configKey: pulumi.String(config), rulesKey: pulumi.String(args.Rules), selfKey: pulumi.String(self),
		},
	}, pulumi.Parent(p))
	if err != nil {
		return nil, fmt.Errorf("making the ConfigMap %s: %w", Name, err)
	}
	data := workload.EmptyDir(args.Scratch)
	if args.Storage.Used() {
		claim, err := workload.NewClaim(ctx, args.Namespace, Name, Name, args.Storage, pulumi.Parent(p))
		if err != nil {
			return nil, err
		}
		data = workload.ClaimVolume(claim)
	}

	one := 1
	_, err = workload.NewDeployment(ctx, workload.Args{
		Namespace:       args.Namespace,
		Name:            Name,
		Replicas:        &one,
		Recreate:        true, // two would write the same data, or a second one answer with none
		Image:           args.Image,
		ImagePullPolicy: args.ImagePullPolicy,
		Command:         []string{"prometheus"},
		Args: []string{
			"--config.file=" + configFolder + "/" + configKey,
			"--storage.tsdb.path=/prometheus",
			"--storage.tsdb.retention.time=" + args.Retention,
			"--storage.tsdb.retention.size=" + args.RetentionSize, // well below the volume, which ends the pod when it is full
			fmt.Sprintf("--web.listen-address=:%d", Port.Number),
		},
		Ports:     []workload.Port{Port},
		Resources: workload.Resources{CPURequest: "100m", CPULimit: "1", MemoryRequest: "128Mi", MemoryLimit: "768Mi"},
		// After a restart it reads what it had not put into blocks yet.
		Startup:     workload.HTTPProbe("/-/ready", Port.Name, workload.Cadence{Period: 1, Timeout: 2, Failures: 300}),
		Readiness:   workload.HTTPProbe("/-/ready", Port.Name, workload.Cadence{Period: 2, Timeout: 2, Failures: 5}),
		Liveness:    workload.HTTPProbe("/-/healthy", Port.Name, workload.Cadence{Period: 10, Timeout: 5, Failures: 6}),
		GracePeriod: 30,
		Placement:   args.Placement,
		Annotations: pulumi.StringMap{
			"headroom.dev/config-checksum": pulumi.String(workload.Checksum(strings.Join([]string{config, args.Rules}, "\n"))),
		},
		Volumes: []workload.Volume{
			{Name: "config", Path: configFolder, ReadOnly: true, Source: workload.ConfigMapVolume(configMap)},
			{Name: "data", Path: "/prometheus", Source: data},
		},
	}, pulumi.Parent(p))
	if err != nil {
		return nil, err
	}
	service, err := workload.NewService(ctx, args.Namespace, Name, Port, args.Exposure, pulumi.Parent(p))
	if err != nil {
		return nil, err
	}
	p.ClusterURL = fmt.Sprintf("http://%s.%s.svc:%d", Name, args.Namespace.Name, Port.Number)
	p.URL = args.Exposure.URL(args.Namespace, Name, Port, service)
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{"clusterUrl": pulumi.String(p.ClusterURL), "url": p.URL})
}
