// Package workload holds what all of headroom's pods have in common: labels,
// hardening, probes and the shape of Deployments, Services and RBAC. A
// component states what is particular to it and can't forget the rest.
package workload

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"strconv"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// PartOf is the value of app.kubernetes.io/part-of on everything.
const PartOf = "headroom"

// The labels that are more than decoration: Prometheus, Services and network
// policies select by them.
const (
	NameLabel   = "app.kubernetes.io/name"
	PartOfLabel = "app.kubernetes.io/part-of"
)

// fieldManagerAnnotation is what Pulumi's provider takes the name of a field's
// owner from.
const fieldManagerAnnotation = "pulumi.com/patchFieldManager"

// MetricsPort is the name of the container port that Prometheus scrapes.
const MetricsPort = "metrics"

// nonRoot is the user and the group of every container.
const nonRoot = 65532

// rolloutTimeout is how long `pulumi up` waits for one Deployment or Service.
const rolloutTimeout = "5m"

// Namespace is where the stack lives: its name for texts that are made before
// any resource exists, and the same name as an input, which makes what uses it
// wait for the namespace.
type Namespace struct {
	Name  string
	Input pulumi.StringInput
	// Prefix begins the names of resources in the program: one that makes several
	// headrooms tells theirs apart by it. In the cluster their namespaces do.
	Prefix string
}

// Resource is the name in the program of what has that name in the cluster.
func (ns Namespace) Resource(name string) string { return ns.Prefix + name }

// Labels are the labels of everything that belongs to a component.
func Labels(name string) pulumi.StringMap {
	return pulumi.StringMap{
		NameLabel:                      pulumi.String(name),
		PartOfLabel:                    pulumi.String(PartOf),
		"app.kubernetes.io/managed-by": pulumi.String("pulumi"),
	}
}

// MetricsService is the name of the headless Service whose addresses are a
// component's pods.
func MetricsService(name string) string { return name + "-metrics" }

// Selector matches a component's pods. It is part of a Deployment's identity
// and must never change.
func Selector(name string) pulumi.StringMap {
	return pulumi.StringMap{NameLabel: pulumi.String(name), PartOfLabel: pulumi.String(PartOf)}
}

// Metadata is the metadata of a component's object of that name.
func Metadata(ns Namespace, component, name string) metav1.ObjectMetaArgs {
	return metav1.ObjectMetaArgs{
		Name:        pulumi.String(name),
		Namespace:   ns.Input,
		Labels:      Labels(component),
		Annotations: Annotations(nil),
	}
}

// Annotations are those of every object that Pulumi applies, with more of its own.
func Annotations(own map[string]string) pulumi.StringMap {
	annotations := pulumi.ToStringMap(own)
	// By default the owner of an object's fields has a name that is drawn when it is
	// created. A creation that was cut off and is made again would leave two owners,
	// of whom neither may change what the other owns.
	annotations[fieldManagerAnnotation] = pulumi.String(PartOf)
	return annotations
}

// Checksum identifies the content of a config file. As a pod annotation it
// rolls the pods when the file changes.
func Checksum(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// Resources are a container's requests and limits, as Kubernetes quantities.
type Resources struct {
	CPURequest, CPULimit, MemoryRequest, MemoryLimit string
}

// Port is a container port and its name.
type Port struct {
	Name   string
	Number int
}

// Args say what is particular to a Deployment or a StatefulSet.
type Args struct {
	Namespace Namespace
	Name      string // of the object, the component and the container

	Replicas *int // nil: spec.replicas is left to whoever scales
	Recreate bool // true: the old pod ends before the new one starts

	Image, ImagePullPolicy string
	Command                []string // nil: the image's entrypoint
	Args                   []string
	Env                    corev1.EnvVarArray
	Ports                  []Port
	Resources              Resources
	CPUInPlace             bool              // true: a change of a running pod's CPU restarts nothing
	Startup                *corev1.ProbeArgs // nil: liveness counts from the start
	Readiness, Liveness    *corev1.ProbeArgs
	PreStop                []string // command that runs before SIGTERM, within GracePeriod; nil: none
	Sidecars               []Sidecar

	Annotations    pulumi.StringMap   // of the pods
	ServiceAccount pulumi.StringInput // nil: no API access and no token in the pod
	GracePeriod    int                // seconds from SIGTERM to SIGKILL
	Placement      Placement
	Volumes        []Volume
}

// Volume is a source and the folder at which the container sees it.
type Volume struct {
	Name, Path string
	ReadOnly   bool
	Claimed    bool              // true: a claim of the pod's own, in a StatefulSet
	Source     corev1.VolumeArgs // else; Name is filled in
}

// podTemplate describes pods that meet the Pod Security Standard "restricted" and
// have a read-only root file system besides. revision is the label that tells
// the pods of one revision from the next one's.
func podTemplate(args Args, revision string) corev1.PodTemplateSpecArgs {
	var (
		volumes corev1.VolumeArray
		mounts  corev1.VolumeMountArray
	)
	for _, v := range args.Volumes {
		if !v.Claimed {
			source := v.Source
			source.Name = pulumi.String(v.Name)
			volumes = append(volumes, source)
		}
		mounts = append(mounts, corev1.VolumeMountArgs{
			Name: pulumi.String(v.Name), MountPath: pulumi.String(v.Path), ReadOnly: pulumi.Bool(v.ReadOnly),
		})
	}

	container := corev1.ContainerArgs{
		Name:            pulumi.String(args.Name),
		Image:           pulumi.String(args.Image),
		ImagePullPolicy: pulumi.String(args.ImagePullPolicy),
		Args:            pulumi.ToStringArray(args.Args),
		Env:             args.Env,
		Ports:           containerPorts(args.Ports),
		Resources:       args.Resources.requirements(),
		ReadinessProbe:  args.Readiness,
		LivenessProbe:   args.Liveness,
		SecurityContext: hardened(),
		VolumeMounts:    mounts,
	}
	if args.PreStop != nil {
		container.Lifecycle = corev1.LifecycleArgs{
			PreStop: corev1.LifecycleHandlerArgs{Exec: corev1.ExecActionArgs{Command: pulumi.ToStringArray(args.PreStop)}},
		}
	}
	if args.Command != nil {
		container.Command = pulumi.ToStringArray(args.Command)
	}
	if args.CPUInPlace {
		container.ResizePolicy = corev1.ContainerResizePolicyArray{corev1.ContainerResizePolicyArgs{
			ResourceName: pulumi.String("cpu"), RestartPolicy: pulumi.String("NotRequired"),
		}}
	}
	if args.Startup != nil {
		container.StartupProbe = args.Startup
	}

	pod := corev1.PodSpecArgs{
		AutomountServiceAccountToken: pulumi.Bool(args.ServiceAccount != nil),
		// The variables that Kubernetes sets for every Service (REDIS_PORT=tcp://…)
		// would be read as flags.
		EnableServiceLinks:            pulumi.Bool(false),
		TerminationGracePeriodSeconds: pulumi.Int(args.GracePeriod),
		SecurityContext: corev1.PodSecurityContextArgs{
			RunAsNonRoot:   pulumi.Bool(true),
			RunAsUser:      pulumi.Int(nonRoot),
			RunAsGroup:     pulumi.Int(nonRoot),
			FsGroup:        pulumi.Int(nonRoot),
			SeccompProfile: corev1.SeccompProfileArgs{Type: pulumi.String("RuntimeDefault")},
		},
		Containers: append(corev1.ContainerArray{container}, sidecars(args)...),
		Volumes:    volumes,
	}
	if args.ServiceAccount != nil {
		pod.ServiceAccountName = args.ServiceAccount.ToStringOutput()
	}
	args.Placement.apply(&pod, args.Name, revision)
	return corev1.PodTemplateSpecArgs{
		Metadata: metav1.ObjectMetaArgs{Labels: Labels(args.Name), Annotations: args.Annotations},
		Spec:     pod,
	}
}

// NewDeployment makes a Deployment of one component's pods.
func NewDeployment(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*appsv1.Deployment, error) {
	strategy := appsv1.DeploymentStrategyArgs{
		Type: pulumi.String("RollingUpdate"),
		RollingUpdate: appsv1.RollingUpdateDeploymentArgs{
			MaxSurge: pulumi.Int(1), MaxUnavailable: pulumi.Int(0),
		},
	}
	if args.Recreate {
		strategy = appsv1.DeploymentStrategyArgs{Type: pulumi.String("Recreate")}
	}
	spec := appsv1.DeploymentSpecArgs{
		ProgressDeadlineSeconds: pulumi.Int(300),
		RevisionHistoryLimit:    pulumi.Int(3),
		Strategy:                strategy,
		Selector:                metav1.LabelSelectorArgs{MatchLabels: Selector(args.Name)},
		Template:                podTemplate(args, deploymentRevision),
	}
	if args.Replicas != nil {
		spec.Replicas = pulumi.Int(*args.Replicas)
	}

	deployment, err := appsv1.NewDeployment(ctx, args.Namespace.Resource(args.Name), &appsv1.DeploymentArgs{
		Metadata: Metadata(args.Namespace, args.Name, args.Name),
		Spec:     spec,
	}, append(opts, Timeouts())...)
	if err != nil {
		return nil, fmt.Errorf("making the Deployment %s: %w", args.Name, err)
	}
	return deployment, nil
}

// EmptyDir is a volume that lives as long as its pod and holds at most limit,
// a quantity.
func EmptyDir(limit string) corev1.VolumeArgs {
	return corev1.VolumeArgs{EmptyDir: corev1.EmptyDirVolumeSourceArgs{SizeLimit: pulumi.String(limit)}}
}

// ConfigMapVolume shows a ConfigMap's keys as files.
func ConfigMapVolume(configMap *corev1.ConfigMap) corev1.VolumeArgs {
	return corev1.VolumeArgs{ConfigMap: corev1.ConfigMapVolumeSourceArgs{Name: configMap.Metadata.Name()}}
}

// Cadence says how often a probe runs, how long one try may take (both in
// seconds) and how many tries in a row must fail.
type Cadence struct{ Period, Timeout, Failures int }

// HTTPProbe asks GET path on the named port.
func HTTPProbe(path, port string, every Cadence) *corev1.ProbeArgs {
	probe := every.probe()
	probe.HttpGet = corev1.HTTPGetActionArgs{Path: pulumi.String(path), Port: pulumi.String(port)}
	return probe
}

// ExecProbe runs a command in the container.
func ExecProbe(every Cadence, command ...string) *corev1.ProbeArgs {
	probe := every.probe()
	probe.Exec = corev1.ExecActionArgs{Command: pulumi.ToStringArray(command)}
	return probe
}

func (c Cadence) probe() *corev1.ProbeArgs {
	return &corev1.ProbeArgs{
		PeriodSeconds:    pulumi.Int(c.Period),
		TimeoutSeconds:   pulumi.Int(c.Timeout),
		FailureThreshold: pulumi.Int(c.Failures),
	}
}

// Exposure says how a Service is reached from outside the cluster.
type Exposure struct {
	Type     string // NodePort, LoadBalancer or ClusterIP
	NodePort int    // with NodePort
	Address  string // host name or IP address of a node, with NodePort
}

// Internal is the exposure of a Service that only the cluster uses.
func Internal() Exposure { return Exposure{Type: "ClusterIP"} }

// NewService makes the Service of a component. Its port has the name and the
// number of the container's port.
func NewService(ctx *pulumi.Context, ns Namespace, name string, port Port, exposure Exposure, opts ...pulumi.ResourceOption) (*corev1.Service, error) {
	servicePort := corev1.ServicePortArgs{
		Name: pulumi.String(port.Name), Port: pulumi.Int(port.Number),
		TargetPort: pulumi.String(port.Name), Protocol: pulumi.String("TCP"),
	}
	if exposure.Type == "NodePort" {
		servicePort.NodePort = pulumi.Int(exposure.NodePort)
	}
	service, err := corev1.NewService(ctx, ns.Resource(name), &corev1.ServiceArgs{
		Metadata: Metadata(ns, name, name),
		Spec: corev1.ServiceSpecArgs{
			Type:                     pulumi.String(exposure.Type),
			Selector:                 Selector(name),
			Ports:                    corev1.ServicePortArray{servicePort},
			PublishNotReadyAddresses: pulumi.Bool(false),
		},
	}, append(opts, Timeouts())...)
	if err != nil {
		return nil, fmt.Errorf("making the Service %s: %w", name, err)
	}
	return service, nil
}

// NewMetricsService makes the headless Service by which Prometheus finds a
// component's pods, ready or not.
func NewMetricsService(ctx *pulumi.Context, ns Namespace, component string, port Port, opts ...pulumi.ResourceOption) error {
	return NewHeadlessService(ctx, ns, component, MetricsService(component), port, opts...)
}

// NewHeadlessService makes a Service whose name is the addresses of all of a
// component's pods, ready or not.
func NewHeadlessService(ctx *pulumi.Context, ns Namespace, component, name string, port Port, opts ...pulumi.ResourceOption) error {
	_, err := corev1.NewService(ctx, ns.Resource(name), &corev1.ServiceArgs{
		Metadata: Metadata(ns, component, name),
		Spec: corev1.ServiceSpecArgs{
			Type:      pulumi.String("ClusterIP"),
			ClusterIP: pulumi.String("None"),
			Selector:  Selector(component),
			Ports: corev1.ServicePortArray{corev1.ServicePortArgs{
				Name: pulumi.String(port.Name), Port: pulumi.Int(port.Number),
				TargetPort: pulumi.String(port.Name), Protocol: pulumi.String("TCP"),
			}},
			PublishNotReadyAddresses: pulumi.Bool(true),
		},
	}, append(opts, Timeouts())...)
	if err != nil {
		return fmt.Errorf("making the Service %s: %w", name, err)
	}
	return nil
}

// URL is where the Service answers: at a node, at its load balancer, or, for
// ClusterIP, at a name that only the cluster knows.
func (e Exposure) URL(ns Namespace, name string, port Port, service *corev1.Service) pulumi.StringOutput {
	switch e.Type {
	case "NodePort":
		return pulumi.String(httpURL(e.Address, e.NodePort)).ToStringOutput()
	case "LoadBalancer":
		ingress := service.Status.LoadBalancer().Ingress().Index(pulumi.Int(0))
		return pulumi.All(ingress.Ip(), ingress.Hostname()).ApplyT(func(addresses []any) (string, error) {
			for _, address := range addresses {
				if text, ok := address.(*string); ok && text != nil && *text != "" {
					return httpURL(*text, port.Number), nil
				}
			}
			return "", fmt.Errorf("the load balancer of the Service %s has no address", name)
		}).(pulumi.StringOutput)
	default:
		return pulumi.String(httpURL(name+"."+ns.Name+".svc", port.Number)).ToStringOutput()
	}
}

func httpURL(host string, port int) string {
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// Timeouts bound how long `pulumi up` and `pulumi destroy` wait for an object.
func Timeouts() pulumi.ResourceOption {
	return pulumi.Timeouts(&pulumi.CustomTimeouts{Create: rolloutTimeout, Update: rolloutTimeout, Delete: rolloutTimeout})
}
