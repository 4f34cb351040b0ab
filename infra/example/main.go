// The example is a Pulumi program of somebody else's: a shop whose pictures
// headroom classifies. Copy it into a module of your own, as docs/embedding.md
// says.
package main

import (
	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"

	"headroom.dev/infra/headroom"
	"headroom.dev/infra/policy"
)

func main() { pulumi.Run(program) }

func program(ctx *pulumi.Context) error {
	// What follows is checked, headroom's objects and the shop's.
	if err := policy.Register(ctx, policy.Enforce, policy.Options{}); err != nil {
		return err
	}
	settings := config.New(ctx, "")
	cluster, err := headroom.NewProvider(ctx, "cluster", settings.Get("kubeContext"))
	if err != nil {
		return err
	}

	args := headroom.Defaults()
	args.Images.ModelServer = settings.Require("modelServerImage")
	args.Images.Dispatcher = settings.Require("dispatcherImage")
	args.Images.Scaler = settings.Require("scalerImage")
	args.Namespace = "pictures"
	args.ServiceType = "ClusterIP"                           // only the shop calls it,
	args.Exposure.ClientNamespaces = []string{shopNamespace} // and nobody else can
	args.MaxReplicas = 20
	pictures, err := headroom.New(ctx, "pictures", args, pulumi.Provider(cluster))
	if err != nil {
		return err
	}

	if err := newShop(ctx, settings.Require("frontImage"), pictures.DispatcherURL, pulumi.Provider(cluster)); err != nil {
		return err
	}
	ctx.Export("classifier", pictures.DispatcherURL)
	return nil
}

const shopNamespace = "shop"

// newShop makes the shop's own pods, which ask the classifier.
func newShop(ctx *pulumi.Context, image string, classifier pulumi.StringInput, opts ...pulumi.ResourceOption) error {
	namespace, err := corev1.NewNamespace(ctx, "shop", &corev1.NamespaceArgs{Metadata: metav1.ObjectMetaArgs{
		Name:   pulumi.String(shopNamespace),
		Labels: pulumi.StringMap{"pod-security.kubernetes.io/enforce": pulumi.String("restricted")},
	}}, opts...)
	if err != nil {
		return err
	}
	labels := pulumi.StringMap{"app.kubernetes.io/name": pulumi.String("front")}
	_, err = appsv1.NewDeployment(ctx, "front", &appsv1.DeploymentArgs{
		Metadata: metav1.ObjectMetaArgs{Name: pulumi.String("front"), Namespace: namespace.Metadata.Name(), Labels: labels},
		Spec: appsv1.DeploymentSpecArgs{
			Replicas: pulumi.Int(2),
			Selector: metav1.LabelSelectorArgs{MatchLabels: labels},
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: labels},
				Spec: corev1.PodSpecArgs{
					AutomountServiceAccountToken: pulumi.Bool(false),
					SecurityContext: corev1.PodSecurityContextArgs{
						RunAsNonRoot: pulumi.Bool(true), RunAsUser: pulumi.Int(65532),
						SeccompProfile: corev1.SeccompProfileArgs{Type: pulumi.String("RuntimeDefault")},
					},
					Containers: corev1.ContainerArray{corev1.ContainerArgs{
						Name:  pulumi.String("front"),
						Image: pulumi.String(image),
						Env:   corev1.EnvVarArray{corev1.EnvVarArgs{Name: pulumi.String("CLASSIFIER_URL"), Value: classifier.ToStringOutput()}},
						Resources: corev1.ResourceRequirementsArgs{
							Requests: pulumi.StringMap{"cpu": pulumi.String("100m"), "memory": pulumi.String("64Mi")},
							Limits:   pulumi.StringMap{"cpu": pulumi.String("500m"), "memory": pulumi.String("128Mi")},
						},
						SecurityContext: corev1.SecurityContextArgs{
							AllowPrivilegeEscalation: pulumi.Bool(false),
							ReadOnlyRootFilesystem:   pulumi.Bool(true),
							Capabilities:             corev1.CapabilitiesArgs{Drop: pulumi.StringArray{pulumi.String("ALL")}},
						},
					}},
				},
			},
		},
	}, opts...)
	return err
}
