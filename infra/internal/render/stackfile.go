package render

import (
	"encoding/json"
	"fmt"
	"io/fs"

	"go.yaml.in/yaml/v3"

	"headroom.dev/infra/internal/config"
	"headroom.dev/infra/internal/recorder"
	"headroom.dev/infra/internal/stack"
)

// standInImages are references that name no image, for a stack whose images
// are not built.
var standInImages = map[string]string{
	"modelServerImage": "headroom/modelserver:stand-in", "dispatcherImage": "headroom/dispatcher:stand-in", "scalerImage": "headroom/scaler:stand-in",
	"redisImage": "headroom/redis:stand-in", "prometheusImage": "headroom/prometheus:stand-in", "metricsServerImage": "headroom/metricsserver:stand-in",
}

const imagesFileKey = config.Project + ":imagesFile"

// encrypted stands for a value that only the stack's passphrase opens. It
// passes for a password.
const encrypted = "stand-in-for-an-encrypted-value"

// Stack gives the manifests of the stack whose file has that content. Files
// that the configuration names are looked up in root. With standIns the images
// file is not: its images are named by stand-ins.
func Stack(file []byte, root fs.FS, standIns bool) ([]Manifest, error) {
	source, err := parse(file)
	if err != nil {
		return nil, err
	}
	if standIns && source.Values[imagesFileKey] != "" {
		delete(source.Values, imagesFileKey)
		for key, reference := range standInImages {
			if full := config.Project + ":" + key; source.Values[full] == "" {
				source.Values[full] = reference
			}
		}
	}
	cfg, err := config.Load(source, root)
	if err != nil {
		return nil, err
	}
	recording, err := recorder.Run(config.Project, "rendered", stack.Program(cfg))
	if err != nil {
		return nil, err
	}
	return Manifests(recording.Resources)
}

// parse reads a stack's file as the engine hands it to a program: scalars as
// they are written, lists and objects as JSON.
func parse(file []byte) (config.Source, error) {
	var written struct {
		Config map[string]yaml.Node `yaml:"config"`
	}
	if err := yaml.Unmarshal(file, &written); err != nil {
		return config.Source{}, fmt.Errorf("reading the stack's file: %w", err)
	}
	source := config.Source{Values: map[string]string{}, Secret: map[string]bool{}}
	for key, node := range written.Config {
		if node.Kind == yaml.ScalarNode {
			source.Values[key] = node.Value
			continue
		}
		var value any
		if err := node.Decode(&value); err != nil {
			return config.Source{}, fmt.Errorf("reading %s in the stack's file: %w", key, err)
		}
		opened, secret := withoutSecrets(value)
		source.Secret[key] = secret
		if text, ok := opened.(string); ok {
			source.Values[key] = text
			continue
		}
		content, err := json.Marshal(opened)
		if err != nil {
			return config.Source{}, fmt.Errorf("reading %s in the stack's file: %w", key, err)
		}
		source.Values[key] = string(content)
	}
	return source, nil
}

// withoutSecrets puts a stand-in in place of what is encrypted, {secure: …}, and
// tells whether anything was.
func withoutSecrets(value any) (any, bool) {
	secret := false
	switch v := value.(type) {
	case map[string]any:
		if _, ok := v["secure"].(string); ok && len(v) == 1 {
			return encrypted, true
		}
		for key := range v {
			inner, isSecret := withoutSecrets(v[key])
			v[key], secret = inner, secret || isSecret
		}
	case []any:
		for i := range v {
			inner, isSecret := withoutSecrets(v[i])
			v[i], secret = inner, secret || isSecret
		}
	}
	return value, secret
}
