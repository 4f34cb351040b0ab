// Package metricsserver runs metrics-server, which the HorizontalPodAutoscaler
// reads CPU from, for clusters that have none.
//
// The objects are those of manifests/base of
// https://github.com/kubernetes-sigs/metrics-server v0.9.0, with three
// differences: it takes kubelets' self-signed certificates, it asks for half
// the CPU, and it is asked whether it is ready from the start rather than
// after 20 seconds.
package metricsserver

import (
	"fmt"

	apiregistrationv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiregistration/v1"
	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/workload"
)

// Name is the name of most objects here; Namespace is where they live.
const (
	Name      = "metrics-server"
	Namespace = "kube-system"
)

const (
	port     = 10250
	portName = "https"
	user     = 1000
	rbacAPI  = "rbac.authorization.k8s.io"
)

// Args configure metrics-server.
type Args struct {
	Image, ImagePullPolicy string
}

// MetricsServer is the component.
type MetricsServer struct {
	pulumi.ResourceState
}

// New makes everything that metrics-server consists of.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*MetricsServer, error) {
	m := &MetricsServer{}
	if err := ctx.RegisterComponentResource("headroom:infra:MetricsServer", Name, m, opts...); err != nil {
		return nil, fmt.Errorf("registering the component %s: %w", Name, err)
	}
	if err := build(ctx, args, pulumi.Parent(m)); err != nil {
		return nil, fmt.Errorf("making %s: %w", Name, err)
	}
	return m, ctx.RegisterResourceOutputs(m, pulumi.Map{"deployment": pulumi.String(Namespace + "/" + Name)})
}

// build makes the pods once they are allowed to read from the kubelets, and
// announces the API once something answers behind it: an API without a server
// makes the cluster's discovery fail, also for `pulumi destroy`, which goes the
// other way round.
func build(ctx *pulumi.Context, args Args, parent pulumi.ResourceOption) error {
	allowed, err := access(ctx, parent)
	if err != nil {
		return err
	}
	pods, err := deployment(ctx, args, parent, pulumi.DependsOn(allowed))
	if err != nil {
		return err
	}
	return api(ctx, pods, parent)
}

func labels() pulumi.StringMap {
	labels := workload.Labels(Name)
	labels["k8s-app"] = pulumi.String(Name)
	return labels
}

func selector() pulumi.StringMap { return pulumi.StringMap{"k8s-app": pulumi.String(Name)} }

func namespaced(name string) metav1.ObjectMetaArgs {
	metadata := clusterWide(name)
	metadata.Namespace = pulumi.String(Namespace)
	return metadata
}

func clusterWide(name string) metav1.ObjectMetaArgs {
	return metav1.ObjectMetaArgs{Name: pulumi.String(name), Labels: labels(), Annotations: workload.Annotations(nil)}
}

func subjects() rbacv1.SubjectArray {
	return rbacv1.SubjectArray{rbacv1.SubjectArgs{
		Kind: pulumi.String("ServiceAccount"), Name: pulumi.String(Name), Namespace: pulumi.String(Namespace),
	}}
}

func roleRef(kind, name string) rbacv1.RoleRefArgs {
	return rbacv1.RoleRefArgs{ApiGroup: pulumi.String(rbacAPI), Kind: pulumi.String(kind), Name: pulumi.String(name)}
}

// access makes the account, what it may do, and the role by which people who
// may view the cluster may view its metrics. It returns what the pods need.
func access(ctx *pulumi.Context, opts ...pulumi.ResourceOption) ([]pulumi.Resource, error) {
	account, err := corev1.NewServiceAccount(ctx, Name, &corev1.ServiceAccountArgs{Metadata: namespaced(Name)}, opts...)
	if err != nil {
		return nil, err
	}
	const readers, reader, delegator = "system:aggregated-metrics-reader", "system:metrics-server", "metrics-server:system:auth-delegator"
	read := pulumi.ToStringArray([]string{"get", "list", "watch"})

	readersMeta := clusterWide(readers)
	readersLabels := labels()
	for _, role := range []string{"view", "edit", "admin"} {
		readersLabels["rbac.authorization.k8s.io/aggregate-to-"+role] = pulumi.String("true")
	}
	readersMeta.Labels = readersLabels
	_, err = rbacv1.NewClusterRole(ctx, readers, &rbacv1.ClusterRoleArgs{
		Metadata: readersMeta,
		Rules: rbacv1.PolicyRuleArray{rbacv1.PolicyRuleArgs{
			ApiGroups: pulumi.ToStringArray([]string{"metrics.k8s.io"}),
			Resources: pulumi.ToStringArray([]string{"pods", "nodes"}), Verbs: read,
		}},
	}, opts...)
	if err != nil {
		return nil, err
	}
	_, err = rbacv1.NewClusterRole(ctx, reader, &rbacv1.ClusterRoleArgs{
		Metadata: clusterWide(reader),
		Rules: rbacv1.PolicyRuleArray{
			rbacv1.PolicyRuleArgs{
				ApiGroups: pulumi.ToStringArray([]string{""}),
				Resources: pulumi.ToStringArray([]string{"nodes/metrics"}), Verbs: pulumi.ToStringArray([]string{"get"}),
			},
			rbacv1.PolicyRuleArgs{
				ApiGroups: pulumi.ToStringArray([]string{""}),
				Resources: pulumi.ToStringArray([]string{"pods", "nodes"}), Verbs: read,
			},
		},
	}, opts...)
	if err != nil {
		return nil, err
	}
	reading, err := rbacv1.NewClusterRoleBinding(ctx, reader, &rbacv1.ClusterRoleBindingArgs{
		Metadata: clusterWide(reader), RoleRef: roleRef("ClusterRole", reader), Subjects: subjects(),
	}, opts...)
	if err != nil {
		return nil, err
	}
	delegating, err := rbacv1.NewClusterRoleBinding(ctx, delegator, &rbacv1.ClusterRoleBindingArgs{
		Metadata: clusterWide(delegator), RoleRef: roleRef("ClusterRole", "system:auth-delegator"), Subjects: subjects(),
	}, opts...)
	if err != nil {
		return nil, err
	}
	authenticating, err := rbacv1.NewRoleBinding(ctx, "metrics-server-auth-reader", &rbacv1.RoleBindingArgs{
		Metadata: namespaced("metrics-server-auth-reader"),
		RoleRef:  roleRef("Role", "extension-apiserver-authentication-reader"), Subjects: subjects(),
	}, opts...)
	if err != nil {
		return nil, err
	}
	return []pulumi.Resource{account, reading, delegating, authenticating}, nil
}

func deployment(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*appsv1.Deployment, error) {
	probe := func(path string, period int) corev1.ProbeArgs {
		return corev1.ProbeArgs{
			HttpGet: corev1.HTTPGetActionArgs{
				Path: pulumi.String(path), Port: pulumi.String(portName), Scheme: pulumi.String("HTTPS"),
			},
			PeriodSeconds: pulumi.Int(period), TimeoutSeconds: pulumi.Int(5), FailureThreshold: pulumi.Int(6),
		}
	}
	seccomp := corev1.SeccompProfileArgs{Type: pulumi.String("RuntimeDefault")}
	return appsv1.NewDeployment(ctx, Name, &appsv1.DeploymentArgs{
		Metadata: namespaced(Name),
		Spec: appsv1.DeploymentSpecArgs{
			Replicas: pulumi.Int(1),
			Selector: metav1.LabelSelectorArgs{MatchLabels: selector()},
			Strategy: appsv1.DeploymentStrategyArgs{
				Type:          pulumi.String("RollingUpdate"),
				RollingUpdate: appsv1.RollingUpdateDeploymentArgs{MaxUnavailable: pulumi.Int(0), MaxSurge: pulumi.Int(1)},
			},
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: labels()},
				Spec: corev1.PodSpecArgs{
					ServiceAccountName:           pulumi.String(Name),
					AutomountServiceAccountToken: pulumi.Bool(true),
					EnableServiceLinks:           pulumi.Bool(false),
					PriorityClassName:            pulumi.String("system-cluster-critical"),
					NodeSelector:                 pulumi.StringMap{"kubernetes.io/os": pulumi.String("linux")},
					SecurityContext: corev1.PodSecurityContextArgs{
						RunAsNonRoot: pulumi.Bool(true), RunAsUser: pulumi.Int(user), RunAsGroup: pulumi.Int(user),
						FsGroup: pulumi.Int(user), SeccompProfile: seccomp,
					},
					Volumes: corev1.VolumeArray{corev1.VolumeArgs{
						Name:     pulumi.String("tmp-dir"),
						EmptyDir: corev1.EmptyDirVolumeSourceArgs{SizeLimit: pulumi.String("16Mi")},
					}},
					Containers: corev1.ContainerArray{corev1.ContainerArgs{
						Name:            pulumi.String(Name),
						Image:           pulumi.String(args.Image),
						ImagePullPolicy: pulumi.String(args.ImagePullPolicy),
						Args: pulumi.ToStringArray([]string{
							"--cert-dir=/tmp",
							fmt.Sprintf("--secure-port=%d", port),
							"--kubelet-preferred-address-types=InternalIP",
							"--kubelet-use-node-status-port",
							"--kubelet-insecure-tls",
							"--metric-resolution=15s",
						}),
						Ports: corev1.ContainerPortArray{corev1.ContainerPortArgs{
							Name: pulumi.String(portName), ContainerPort: pulumi.Int(port), Protocol: pulumi.String("TCP"),
						}},
						Resources: corev1.ResourceRequirementsArgs{
							Requests: pulumi.StringMap{"cpu": pulumi.String("50m"), "memory": pulumi.String("64Mi")},
							Limits:   pulumi.StringMap{"cpu": pulumi.String("500m"), "memory": pulumi.String("256Mi")},
						},
						ReadinessProbe: probe("/readyz", 2),
						LivenessProbe:  probe("/livez", 10),
						SecurityContext: corev1.SecurityContextArgs{
							AllowPrivilegeEscalation: pulumi.Bool(false),
							ReadOnlyRootFilesystem:   pulumi.Bool(true),
							RunAsNonRoot:             pulumi.Bool(true),
							RunAsUser:                pulumi.Int(user),
							RunAsGroup:               pulumi.Int(user),
							Capabilities:             corev1.CapabilitiesArgs{Drop: pulumi.StringArray{pulumi.String("ALL")}},
							SeccompProfile:           seccomp,
						},
						VolumeMounts: corev1.VolumeMountArray{corev1.VolumeMountArgs{
							Name: pulumi.String("tmp-dir"), MountPath: pulumi.String("/tmp"),
						}},
					}},
				},
			},
		},
	}, append(opts, workload.Timeouts())...)
}

// api registers metrics-server with the API server.
func api(ctx *pulumi.Context, pods *appsv1.Deployment, opts ...pulumi.ResourceOption) error {
	service, err := corev1.NewService(ctx, Name, &corev1.ServiceArgs{
		Metadata: namespaced(Name),
		Spec: corev1.ServiceSpecArgs{
			Type:     pulumi.String("ClusterIP"),
			Selector: selector(),
			Ports: corev1.ServicePortArray{corev1.ServicePortArgs{
				Name: pulumi.String(portName), Port: pulumi.Int(443), TargetPort: pulumi.String(portName),
				Protocol: pulumi.String("TCP"), AppProtocol: pulumi.String("https"),
			}},
		},
	}, append(opts, workload.Timeouts())...)
	if err != nil {
		return err
	}
	const group, version = "metrics.k8s.io", "v1beta1"
	_, err = apiregistrationv1.NewAPIService(ctx, version+"."+group, &apiregistrationv1.APIServiceArgs{
		Metadata: clusterWide(version + "." + group),
		Spec: apiregistrationv1.APIServiceSpecArgs{
			Group: pulumi.String(group), Version: pulumi.String(version),
			GroupPriorityMinimum: pulumi.Int(100), VersionPriority: pulumi.Int(100),
			InsecureSkipTLSVerify: pulumi.Bool(true),
			Service: apiregistrationv1.ServiceReferenceArgs{
				Name: pulumi.String(Name), Namespace: pulumi.String(Namespace),
			},
		},
	}, append(opts, pulumi.DependsOn([]pulumi.Resource{pods, service}))...)
	return err
}
