package stack

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"

	"headroom.dev/infra/internal/config"
)

// object is a JSON object.
type object = map[string]any

// registered is one resource that the program asked for.
type registered struct {
	typ, name, parent, provider string
	custom                      bool
	inputs                      resource.PropertyMap // with secrets marked
	body                        object               // the inputs as JSON, secrets opened
	ignored                     []string             // properties whose changes are ignored
	after                       []string             // URNs of what must be there before
}

// recorder stands in for the engine and the provider: it accepts every
// resource and remembers it.
type recorder struct {
	mu        sync.Mutex
	resources []registered
}

// NewResource records the resource and answers as a cluster would.
func (r *recorder) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, _ := plain(resource.NewProperty(args.Inputs)).(object)
	r.resources = append(r.resources, registered{
		typ: args.TypeToken, name: args.Name, custom: args.Custom, inputs: args.Inputs, body: body,
		parent: args.RegisterRPC.GetParent(), provider: args.RegisterRPC.GetProvider(),
		ignored: args.RegisterRPC.GetIgnoreChanges(),
		after:   args.RegisterRPC.GetDependencies(),
	})
	state := args.Inputs.Copy()
	switch args.TypeToken {
	case "kubernetes:core/v1:Secret":
		state["metadata"].ObjectValue()["resourceVersion"] = resource.NewProperty("4711")
	case "kubernetes:core/v1:Service":
		state["status"] = resource.NewPropertyValue(object{
			"loadBalancer": object{"ingress": []any{object{"ip": "192.0.2.7"}}},
		})
	}
	return args.Name + "-id", state, nil
}

// Call answers functions of providers, of which the program uses none.
func (r *recorder) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return resource.PropertyMap{}, nil
}

// plain turns a property into JSON's types.
func plain(v resource.PropertyValue) any {
	switch {
	case v.IsSecret():
		return plain(v.SecretValue().Element)
	case v.IsOutput():
		return plain(v.OutputValue().Element)
	case v.IsObject():
		o := object{}
		for key, value := range v.ObjectValue() {
			o[string(key)] = plain(value)
		}
		return o
	case v.IsArray():
		list := make([]any, len(v.ArrayValue()))
		for i, value := range v.ArrayValue() {
			list[i] = plain(value)
		}
		return list
	default:
		return v.V
	}
}

// built is what a configuration leads to.
type built struct {
	resources []registered
	outputs   map[string]any
}

// build runs the program without an engine. Settings are key=value without the
// project's name; a key in secret is stored encrypted.
func build(t *testing.T, settings ...string) built {
	t.Helper()
	source := config.Source{Values: map[string]string{"headroom:imagesFile": "images.json"}, Secret: map[string]bool{"headroom:redisPassword": true}}
	for _, setting := range settings {
		key, value, _ := strings.Cut(setting, "=")
		source.Values["headroom:"+key] = value
	}
	cfg, err := config.Load(source, fstest.MapFS{"images.json": {Data: []byte(`{
		"modelserver": "headroom/modelserver:1", "dispatcher": "headroom/dispatcher:1", "scaler": "headroom/scaler:1",
		"redis": "headroom/redis:1", "prometheus": "headroom/prometheus:1", "metricsserver": "headroom/metrics-server:1"}`)}})
	require.NoError(t, err)

	engine := &recorder{}
	type output struct {
		name  string
		value any
	}
	var wanted int
	known := make(chan output, 100)
	err = pulumi.RunErr(func(ctx *pulumi.Context) error {
		outputs, err := New(ctx, cfg)
		for name, value := range outputs {
			pulumi.ToOutput(value).ApplyT(func(value any) any {
				known <- output{name, value}
				return nil
			})
		}
		wanted = len(outputs)
		return err
	}, pulumi.WithMocks(config.Project, "test", engine))
	require.NoError(t, err)
	result := built{resources: engine.resources, outputs: map[string]any{}}
	for range wanted {
		select {
		case o := <-known:
			result.outputs[o.name] = o.value
		case <-time.After(10 * time.Second):
			require.Fail(t, "an output never became known", "known: %v", result.outputs)
		}
	}
	return result
}

// all are the resources of a type, such as apps/v1:Deployment.
func (b built) all(typ string) []registered {
	var found []registered
	for _, r := range b.resources {
		if r.typ == "kubernetes:"+typ {
			found = append(found, r)
		}
	}
	return found
}

// one is the resource of that type and name.
func (b built) one(t *testing.T, typ, name string) registered {
	t.Helper()
	found := slices.DeleteFunc(b.all(typ), func(r registered) bool { return r.name != name })
	require.Len(t, found, 1, "%s %s", typ, name)
	return found[0]
}

// at follows a path of keys into a JSON object; nil where it ends early.
func at(o object, path ...string) any {
	var value any = o
	for _, key := range path {
		inner, ok := value.(object)
		if !ok {
			return nil
		}
		value = inner[key]
	}
	return value
}

func objects(value any) []object {
	list, _ := value.([]any)
	found := make([]object, len(list))
	for i, element := range list {
		found[i], _ = element.(object)
	}
	return found
}

func texts(value any) []string {
	list, _ := value.([]any)
	found := make([]string, len(list))
	for i, element := range list {
		found[i], _ = element.(string)
	}
	return found
}

func (r registered) podSpec() object {
	spec, _ := at(r.body, "spec", "template", "spec").(object)
	return spec
}

func (r registered) containers() []object { return objects(r.podSpec()["containers"]) }
