// Package recorder runs a Pulumi program without an engine or a cluster, and
// remembers every resource that it asks for.
package recorder

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
)

// Resource is one resource that the program asked for.
type Resource struct {
	Type, Name, Parent string // type token, name and the parent's URN
	Provider           string // URN and ID of its provider
	Custom             bool   // false: a component
	Inputs             resource.PropertyMap
	Ignored            []string // properties whose changes are ignored
	After              []string // URNs of what must be there before
	WasParentless      bool     // it goes by the alias of having had no parent
}

// Body is the inputs as JSON's types. Each value that is marked as a secret
// goes through hide; where hide is nil it is as it is.
func (r Resource) Body(hide func(any) any) map[string]any {
	body, _ := plain(resource.NewProperty(r.Inputs), hide).(map[string]any)
	return body
}

// Recording is what a program led to.
type Recording struct {
	Resources []Resource // in no particular order
	Outputs   map[string]any
}

// outputTimeout is far above what any output takes: no cluster is waited for.
const outputTimeout = 10 * time.Second

// Run runs the program as the stack of that name. What only a cluster knows,
// such as an object's version, is made up.
func Run(project, stack string, program pulumi.RunFunc) (Recording, error) {
	engine := &engine{}
	exports := map[string]pulumi.Output{}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		if err := program(ctx); err != nil {
			return err
		}
		for name, value := range ctx.GetCurrentExportMap() {
			exports[name] = pulumi.ToOutput(value)
		}
		return nil
	}, pulumi.WithMocks(project, stack, engine))
	if err != nil {
		return Recording{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), outputTimeout)
	defer cancel()
	outputs := map[string]any{}
	for name, output := range exports {
		result, err := internals.UnsafeAwaitOutput(ctx, output)
		if err != nil {
			return Recording{}, fmt.Errorf("waiting for the output %s: %w", name, err)
		}
		outputs[name] = result.Value
	}
	return Recording{Resources: engine.resources, Outputs: outputs}, nil
}

// engine stands in for Pulumi's engine and the providers: it accepts every
// resource and remembers it.
type engine struct {
	mu        sync.Mutex
	resources []Resource
}

// NewResource records the resource and answers as a cluster would.
func (e *engine) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := Resource{
		Type: args.TypeToken, Name: args.Name, Custom: args.Custom, Inputs: args.Inputs,
		Parent:   args.RegisterRPC.GetParent(),
		Provider: args.RegisterRPC.GetProvider(),
		Ignored:  args.RegisterRPC.GetIgnoreChanges(),
		After:    args.RegisterRPC.GetDependencies(),
	}
	for _, alias := range args.RegisterRPC.GetAliases() {
		r.WasParentless = r.WasParentless || alias.GetSpec().GetNoParent()
	}
	e.resources = append(e.resources, r)

	state := args.Inputs.Copy()
	switch args.TypeToken {
	case "kubernetes:core/v1:Secret":
		metadata := state["metadata"].ObjectValue().Copy()
		metadata["resourceVersion"] = resource.NewProperty("4711")
		state["metadata"] = resource.NewProperty(metadata)
	case "kubernetes:core/v1:Service":
		state["status"] = resource.NewPropertyValue(map[string]any{
			"loadBalancer": map[string]any{"ingress": []any{map[string]any{"ip": "192.0.2.7"}}},
		})
	}
	return args.Name + "-id", state, nil
}

// Call answers functions of providers, of which the program uses none.
func (e *engine) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return resource.PropertyMap{}, nil
}

// plain turns a property into JSON's types.
func plain(v resource.PropertyValue, hide func(any) any) any {
	switch {
	case v.IsSecret():
		value := plain(v.SecretValue().Element, nil)
		if hide == nil {
			return value
		}
		return hide(value)
	case v.IsOutput():
		return plain(v.OutputValue().Element, hide)
	case v.IsObject():
		object := map[string]any{}
		for key, value := range v.ObjectValue() {
			object[string(key)] = plain(value, hide)
		}
		return object
	case v.IsArray():
		list := make([]any, len(v.ArrayValue()))
		for i, value := range v.ArrayValue() {
			list[i] = plain(value, hide)
		}
		return list
	default:
		return v.V
	}
}
