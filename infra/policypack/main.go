// Command policypack is package policy as a policy pack, for any program whose
// language is Pulumi's:
//
//	pulumi preview --policy-pack infra/policypack
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/policyx"

	"headroom.dev/infra/policy"
)

func main() {
	if err := policyx.Main(pack); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// pack has one policy a rule.
func pack(ctx *pulumi.Context) (policyx.PolicyPack, error) {
	// A stack of headroom that asks for node ports gets them.
	serviceType, _ := ctx.GetConfig("headroom:serviceType")
	options := policy.Options{AllowNodePorts: serviceType == "NodePort"}
	var policies []policyx.Policy
	for _, rule := range policy.Rules() {
		policies = append(policies, policyx.NewResourceValidationPolicy(rule.Name, policyx.ResourceValidationPolicyArgs{
			Description:      rule.Description,
			EnforcementLevel: policyx.EnforcementLevelMandatory,
			ValidateResource: func(_ context.Context, args policyx.ResourceValidationArgs) error {
				object := policy.Object{
					Type: args.Resource.Type, Name: args.Resource.Name,
					Body: policy.Body(resource.ToResourcePropertyMap(args.Resource.Properties)),
				}
				for _, v := range rule.Check(object, options) {
					args.Manager.ReportViolation(v.Object+": "+v.Problem, "")
				}
				return nil
			},
		}))
	}
	return policyx.NewPolicyPack("headroom", semver.Version{Major: 1}, policyx.EnforcementLevelMandatory, policies)
}
