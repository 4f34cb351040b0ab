package workload

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Sidecar is a container beside a pod's own. It sees none of the pod's volumes,
// and the pod is ready without it.
type Sidecar struct {
	Name, Image string
	Args        []string
	Env         corev1.EnvVarArray
	Ports       []Port
	Resources   Resources
	Liveness    *corev1.ProbeArgs
}

func sidecars(args Args) corev1.ContainerArray {
	var all corev1.ContainerArray
	for _, s := range args.Sidecars {
		all = append(all, corev1.ContainerArgs{
			Name:            pulumi.String(s.Name),
			Image:           pulumi.String(s.Image),
			ImagePullPolicy: pulumi.String(args.ImagePullPolicy),
			Args:            pulumi.ToStringArray(s.Args),
			Env:             s.Env,
			Ports:           containerPorts(s.Ports),
			Resources:       s.Resources.requirements(),
			LivenessProbe:   s.Liveness,
			SecurityContext: hardened(),
		})
	}
	return all
}

// hardened is what every container is held to.
func hardened() corev1.SecurityContextArgs {
	return corev1.SecurityContextArgs{
		AllowPrivilegeEscalation: pulumi.Bool(false),
		ReadOnlyRootFilesystem:   pulumi.Bool(true),
		RunAsNonRoot:             pulumi.Bool(true),
		RunAsUser:                pulumi.Int(nonRoot),
		RunAsGroup:               pulumi.Int(nonRoot),
		Capabilities:             corev1.CapabilitiesArgs{Drop: pulumi.StringArray{pulumi.String("ALL")}},
		SeccompProfile:           corev1.SeccompProfileArgs{Type: pulumi.String("RuntimeDefault")},
	}
}

func containerPorts(ports []Port) corev1.ContainerPortArray {
	var all corev1.ContainerPortArray
	for _, p := range ports {
		all = append(all, corev1.ContainerPortArgs{
			Name: pulumi.String(p.Name), ContainerPort: pulumi.Int(p.Number), Protocol: pulumi.String("TCP"),
		})
	}
	return all
}

func (r Resources) requirements() corev1.ResourceRequirementsArgs {
	return corev1.ResourceRequirementsArgs{
		Requests: pulumi.StringMap{"cpu": pulumi.String(r.CPURequest), "memory": pulumi.String(r.MemoryRequest)},
		Limits:   pulumi.StringMap{"cpu": pulumi.String(r.CPULimit), "memory": pulumi.String(r.MemoryLimit)},
	}
}
