package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/yannh/kubeconform/pkg/validator"
	"sigs.k8s.io/yaml"
)

// schema is a JSON schema.
type schema = map[string]any

// schemas are those of all kinds, by the name that kubeconform gives their
// files, such as deployment-apps-v1.
type schemas struct {
	kinds       map[string]schema
	definitions map[string]any // what the kinds of the API server refer to
}

// readSchemas takes the kinds that the API server itself has from its OpenAPI
// document, and others from the CustomResourceDefinitions in the folders.
func readSchemas(openAPI string, crds []string) (schemas, error) {
	s := schemas{kinds: map[string]schema{}}
	content, err := os.ReadFile(openAPI)
	if err != nil {
		return schemas{}, err
	}
	var document struct {
		Definitions map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal(content, &document); err != nil {
		return schemas{}, fmt.Errorf("reading %s: %w", openAPI, err)
	}
	s.definitions = document.Definitions
	for name, value := range s.definitions {
		definition, _ := value.(schema)
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		for _, kind := range kinds {
			gvk, _ := kind.(map[string]any)
			group, _ := gvk["group"].(string)
			version, _ := gvk["version"].(string)
			kind, _ := gvk["kind"].(string)
			s.kinds[fileName(group, version, kind)] = schema{"$ref": "#/definitions/" + name}
		}
		strict(definition)
	}
	for _, folder := range crds {
		if err := s.addCustom(folder); err != nil {
			return schemas{}, err
		}
	}
	return s, nil
}

// fileName is kubeconform's: of a group only the first part counts.
func fileName(group, version, kind string) string {
	parts := []string{kind}
	if group != "" {
		parts = append(parts, strings.SplitN(group, ".", 2)[0])
	}
	return strings.ToLower(strings.Join(append(parts, version), "-"))
}

func (s schemas) addCustom(folder string) error {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("%s has no CustomResourceDefinition", folder)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var crd struct {
			Kind string
			Spec struct {
				Group    string
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct {
						OpenAPIV3Schema schema `json:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal(content, &crd); err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		if crd.Kind != "CustomResourceDefinition" {
			continue
		}
		for _, version := range crd.Spec.Versions {
			strict(version.Schema.OpenAPIV3Schema)
			// What every object has is the API server's own.
			properties, _ := version.Schema.OpenAPIV3Schema["properties"].(map[string]any)
			if properties != nil {
				properties["metadata"] = schema{"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
			}
			s.kinds[fileName(crd.Spec.Group, version.Name, crd.Spec.Names.Kind)] = version.Schema.OpenAPIV3Schema
		}
	}
	return nil
}

// strict has a schema refuse what it doesn't name, as the API server does with
// fieldValidation Strict, and says in JSON schema what OpenAPI's extensions say.
func strict(value any) {
	switch v := value.(type) {
	case map[string]any:
		intOrString := v["x-kubernetes-int-or-string"] == true || v["format"] == "int-or-string"
		if intOrString {
			delete(v, "type")
			delete(v, "format")
			v["anyOf"] = []any{schema{"type": "integer"}, schema{"type": "string"}}
		}
		_, named := v["properties"].(map[string]any)
		if named && v["additionalProperties"] == nil && v["x-kubernetes-preserve-unknown-fields"] != true {
			v["additionalProperties"] = false
		}
		for key, inner := range v {
			if key == "properties" || key == "definitions" {
				// Here the keys are names.
				properties, _ := inner.(map[string]any)
				for _, property := range properties {
					strict(property)
				}
				continue
			}
			strict(inner)
		}
	case []any:
		for _, inner := range v {
			strict(inner)
		}
	}
}

// write puts every schema that the manifests may need into a folder of files
// that stand alone.
func (s schemas) write(folder string, kinds []string) error {
	for _, kind := range kinds {
		root, ok := s.kinds[kind]
		if !ok {
			continue // kubeconform says so
		}
		definitions := map[string]any{}
		s.need(root, definitions)
		file := maps.Clone(root)
		file["definitions"] = definitions
		content, err := json.Marshal(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, kind+".json"), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// need collects the definitions that a schema refers to.
func (s schemas) need(value any, found map[string]any) {
	switch v := value.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			name := strings.TrimPrefix(ref, "#/definitions/")
			if _, known := found[name]; !known {
				found[name] = s.definitions[name]
				s.need(s.definitions[name], found)
			}
		}
		for _, inner := range v {
			s.need(inner, found)
		}
	case []any:
		for _, inner := range v {
			s.need(inner, found)
		}
	}
}

// conformance is what kubeconform finds.
func conformance(stack string, content []byte, all schemas) ([]finding, error) {
	folder, err := os.MkdirTemp("", "schemas")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	kinds, err := kindsIn(content)
	if err != nil {
		return nil, err
	}
	if err := all.write(folder, kinds); err != nil {
		return nil, err
	}
	v, err := validator.New([]string{folder + "/{{ .ResourceKind }}{{ .KindSuffix }}.json"}, validator.Opts{Strict: true})
	if err != nil {
		return nil, err
	}
	var findings []finding
	for _, result := range v.Validate(stack, io.NopCloser(bytes.NewReader(content))) {
		if result.Status == validator.Valid || result.Status == validator.Empty {
			continue
		}
		object := "?"
		if signature, err := result.Resource.Signature(); err == nil {
			object = signature.Kind + "/" + signature.Name
		}
		// What is before the schema's name is the same for every mistake.
		message := strings.Join(strings.Fields(fmt.Sprint(result.Err)), " ")
		if _, after, found := strings.Cut(message, "#' - "); found {
			message = after
		}
		findings = append(findings, finding{stack: stack, check: "kubeconform", object: object, message: message})
	}
	return findings, nil
}

// kindsIn are the names of the schemas that the manifests need.
func kindsIn(content []byte) ([]string, error) {
	var kinds []string
	for _, document := range bytes.Split(content, []byte("\n---\n")) {
		var object struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(document, &object); err != nil {
			return nil, err
		}
		group, version, grouped := strings.Cut(object.APIVersion, "/")
		if !grouped {
			group, version = "", object.APIVersion
		}
		kinds = append(kinds, fileName(group, version, object.Kind))
	}
	slices.Sort(kinds)
	return slices.Compact(kinds), nil
}
