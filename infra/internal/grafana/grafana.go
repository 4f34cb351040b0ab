// Package grafana shows headroom: dashboards for a Grafana that is there, or in
// one of headroom's own.
package grafana

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/workload"
)

// Name is the name of everything here but the dashboards.
const Name = "grafana"

// Dashboards is the name of the ConfigMap with the dashboards.
const Dashboards = "grafana-dashboards"

// Port is the one that the Service serves.
var Port = workload.Port{Name: "http", Number: 3000}

const (
	configFolder     = "/etc/grafana"
	dashboardsFolder = "/etc/grafana-dashboards"
	secretFolder     = "/etc/grafana-secret"
	dataFolder       = "/var/lib/grafana"
	passwordKey      = "admin-password"
)

// Args configure the dashboards, and Grafana where there is to be one.
type Args struct {
	Namespace workload.Namespace
	Boards    map[string]string // by file name
	Labels    map[string]string // by which a sidecar of somebody else's Grafana finds them
	Server    *Server           // nil: there is no Grafana of headroom's own
}

// Server is a Grafana of headroom's own.
type Server struct {
	Image, ImagePullPolicy string
	PrometheusURL          string        // as reached from inside the cluster
	ScrapeInterval         time.Duration // Prometheus' own
	Home                   string        // file name of the dashboard to look at first
	Placement              workload.Placement
}

// Grafana is the component.
type Grafana struct {
	pulumi.ResourceState
}

// New makes the dashboards' ConfigMap, and Grafana's Secret, config, Deployment
// and Service.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Grafana, error) {
	g := &Grafana{}
	if err := ctx.RegisterComponentResource("headroom:infra:Grafana", args.Namespace.Resource(Name), g, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	metadata := workload.Metadata(args.Namespace, Name, Dashboards)
	labels := workload.Labels(Name)
	maps.Copy(labels, pulumi.ToStringMap(args.Labels))
	metadata.Labels = labels
	// Sidecars put them into a folder of that name.
	metadata.Annotations = workload.Annotations(map[string]string{"grafana_folder": workload.PartOf})
	boards, err := corev1.NewConfigMap(ctx, args.Namespace.Resource(Dashboards), &corev1.ConfigMapArgs{
		Metadata: metadata, Data: pulumi.ToStringMap(args.Boards),
	}, pulumi.Parent(g))
	if err != nil {
		return nil, fmt.Errorf("making the ConfigMap %s: %w", Dashboards, err)
	}
	if args.Server != nil {
		if err := args.Server.run(ctx, args.Namespace, boards, pulumi.Parent(g)); err != nil {
			return nil, err
		}
	}
	return g, ctx.RegisterResourceOutputs(g, pulumi.Map{"dashboards": pulumi.Int(len(args.Boards))})
}

func (s Server) run(ctx *pulumi.Context, ns workload.Namespace, boards *corev1.ConfigMap, opts ...pulumi.ResourceOption) error {
	secret, err := newSecret(ctx, ns, opts...)
	if err != nil {
		return err
	}
	files, err := s.config()
	if err != nil {
		return err
	}
	data := pulumi.StringMap{}
	var items corev1.KeyToPathArray
	checksum := ""
	for _, f := range files {
		data[f.key] = pulumi.String(f.content)
		items = append(items, corev1.KeyToPathArgs{Key: pulumi.String(f.key), Path: pulumi.String(f.path)})
		checksum = workload.Checksum(checksum + f.content)
	}
	configMap, err := corev1.NewConfigMap(ctx, ns.Resource(Name), &corev1.ConfigMapArgs{
		Metadata: workload.Metadata(ns, Name, Name), Data: data,
	}, opts...)
	if err != nil {
		return fmt.Errorf("making the ConfigMap %s: %w", Name, err)
	}

	one := 1
	_, err = workload.NewDeployment(ctx, workload.Args{
		Namespace:       ns,
		Name:            Name,
		Replicas:        &one,
		Image:           s.Image,
		ImagePullPolicy: s.ImagePullPolicy,
		Ports:           []workload.Port{Port},
		Resources:       workload.Resources{CPURequest: "50m", CPULimit: "500m", MemoryRequest: "128Mi", MemoryLimit: "512Mi"},
		// The first start makes a database.
		Startup:     workload.HTTPProbe("/api/health", Port.Name, workload.Cadence{Period: 2, Timeout: 2, Failures: 90}),
		Readiness:   workload.HTTPProbe("/api/health", Port.Name, workload.Cadence{Period: 5, Timeout: 3, Failures: 3}),
		Liveness:    workload.HTTPProbe("/api/health", Port.Name, workload.Cadence{Period: 10, Timeout: 5, Failures: 6}),
		GracePeriod: 30,
		Placement:   s.Placement,
		Annotations: pulumi.StringMap{
			"headroom.dev/config-checksum": pulumi.String(checksum),
			"headroom.dev/secret-version":  secret.Metadata.ResourceVersion().Elem(),
		},
		Volumes: []workload.Volume{
			{Name: "config", Path: configFolder, ReadOnly: true, Source: corev1.VolumeArgs{
				ConfigMap: corev1.ConfigMapVolumeSourceArgs{Name: configMap.Metadata.Name(), Items: items},
			}},
			{Name: "dashboards", Path: dashboardsFolder, ReadOnly: true, Source: workload.ConfigMapVolume(boards)},
			{Name: "secret", Path: secretFolder, ReadOnly: true, Source: corev1.VolumeArgs{
				Secret: corev1.SecretVolumeSourceArgs{SecretName: secret.Metadata.Name().Elem(), DefaultMode: pulumi.Int(0o440)},
			}},
			{Name: "data", Path: dataFolder, Source: workload.EmptyDir("512Mi")},
			{Name: "scratch", Path: "/tmp", Source: workload.EmptyDir("64Mi")},
		},
	}, opts...)
	if err != nil {
		return err
	}
	_, err = workload.NewService(ctx, ns, Name, Port, workload.Internal(), opts...)
	return err
}

// newSecret holds the administrator's password: only the one generated when the
// Secret is made counts.
func newSecret(ctx *pulumi.Context, ns workload.Namespace, opts ...pulumi.ResourceOption) (*corev1.Secret, error) {
	password := base64.StdEncoding.EncodeToString([]byte(rand.Text()))
	secret, err := corev1.NewSecret(ctx, ns.Resource(Name), &corev1.SecretArgs{
		Metadata: workload.Metadata(ns, Name, Name),
		Type:     pulumi.String("Opaque"),
		Data:     pulumi.ToSecret(pulumi.StringMap{passwordKey: pulumi.String(password)}).(pulumi.StringMapOutput),
	}, append(opts, pulumi.IgnoreChanges([]string{"data"}))...)
	if err != nil {
		return nil, fmt.Errorf("making the Secret %s: %w", Name, err)
	}
	return secret, nil
}
