package stack

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"

	"headroom.dev/infra/internal/config"
	"headroom.dev/infra/internal/recorder"
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

// built is what a configuration leads to.
type built struct {
	resources []registered
	outputs   map[string]any
}

// nothing is a project without files.
var nothing = fstest.MapFS{}

// load reads settings as build takes them.
func load(settings ...string) (config.Config, error) {
	source := config.Source{
		Values: map[string]string{"headroom:imagesFile": "images.json"},
		Secret: map[string]bool{"headroom:redisPassword": true, "headroom:redisSecondPassword": true},
	}
	for _, setting := range settings {
		key, value, _ := strings.Cut(setting, "=")
		source.Values["headroom:"+key] = value
	}
	return config.Load(source, fstest.MapFS{"images.json": {Data: []byte(`{
		"modelserver": "headroom/modelserver:1", "dispatcher": "headroom/dispatcher:1", "scaler": "headroom/scaler:1",
		"redis": "headroom/redis:1", "prometheus": "headroom/prometheus:1", "metricsserver": "headroom/metrics-server:1"}`)}})
}

// build runs the program without an engine. Settings are key=value without the
// project's name; passwords are stored encrypted.
func build(t *testing.T, settings ...string) built {
	t.Helper()
	cfg, err := load(settings...)
	require.NoError(t, err)

	recording, err := recorder.Run(config.Project, "test", Program(cfg))
	require.NoError(t, err)
	result := built{outputs: recording.Outputs}
	for _, r := range recording.Resources {
		result.resources = append(result.resources, registered{
			typ: r.Type, name: r.Name, custom: r.Custom, parent: r.Parent, provider: r.Provider,
			inputs: r.Inputs, body: r.Body(nil), ignored: r.Ignored, after: r.After,
		})
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
