package workload

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Permission allows verbs on resources of an API group, only on the named
// objects where names are given.
type Permission struct {
	Group            string
	Resources, Verbs []string
	Names            []string
}

// Grant makes a ServiceAccount, a Role with the permissions and the binding of
// the two, all with the component's name and in its namespace only. It returns
// the account's name as an output of the binding, so that no pod starts before
// it is allowed to do its work.
func Grant(ctx *pulumi.Context, ns Namespace, name string, permissions []Permission, opts ...pulumi.ResourceOption) (pulumi.StringOutput, error) {
	account, err := corev1.NewServiceAccount(ctx, ns.Resource(name), &corev1.ServiceAccountArgs{
		Metadata: Metadata(ns, name, name),
		// The pod that needs the token asks for it.
		AutomountServiceAccountToken: pulumi.Bool(false),
	}, opts...)
	if err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("making the ServiceAccount %s: %w", name, err)
	}
	var rules rbacv1.PolicyRuleArray
	for _, p := range permissions {
		rule := rbacv1.PolicyRuleArgs{
			ApiGroups: pulumi.ToStringArray([]string{p.Group}),
			Resources: pulumi.ToStringArray(p.Resources),
			Verbs:     pulumi.ToStringArray(p.Verbs),
		}
		if len(p.Names) > 0 {
			rule.ResourceNames = pulumi.ToStringArray(p.Names)
		}
		rules = append(rules, rule)
	}
	role, err := rbacv1.NewRole(ctx, ns.Resource(name), &rbacv1.RoleArgs{Metadata: Metadata(ns, name, name), Rules: rules}, opts...)
	if err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("making the Role %s: %w", name, err)
	}
	binding, err := rbacv1.NewRoleBinding(ctx, ns.Resource(name), &rbacv1.RoleBindingArgs{
		Metadata: Metadata(ns, name, name),
		RoleRef: rbacv1.RoleRefArgs{
			ApiGroup: pulumi.String("rbac.authorization.k8s.io"),
			Kind:     pulumi.String("Role"),
			Name:     role.Metadata.Name().Elem(),
		},
		Subjects: rbacv1.SubjectArray{rbacv1.SubjectArgs{
			Kind:      pulumi.String("ServiceAccount"),
			Name:      account.Metadata.Name().Elem(),
			Namespace: ns.Input,
		}},
	}, opts...)
	if err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("making the RoleBinding %s: %w", name, err)
	}
	return binding.Metadata.Name().Elem(), nil
}
