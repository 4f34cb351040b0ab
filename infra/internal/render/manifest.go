// Package render gives the Kubernetes manifests that a stack leads to, without
// a cluster and without Pulumi's engine.
package render

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"headroom.dev/infra/internal/recorder"
)

// secretStandIn is what manifests have in place of every secret value.
const secretStandIn = "[secret]"

// Manifest is one Kubernetes object.
type Manifest struct {
	Kind, Namespace, Name string // the namespace of what belongs to the whole cluster is empty
	rank                  int
	object                map[string]any
}

// order is the one in which a cluster can take the objects: what others need
// comes first.
var order = []string{
	"Namespace", "ResourceQuota", "LimitRange", "NetworkPolicy", "ServiceAccount", "Secret", "ConfigMap", "PersistentVolumeClaim",
	"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service", "PodDisruptionBudget", "Deployment", "StatefulSet", "DaemonSet", "Job",
	"HorizontalPodAutoscaler", "Ingress", "Gateway", "HTTPRoute", "APIService",
}

// Manifests are the Kubernetes objects among the resources, in an order in
// which a cluster can take them and that is always the same. Secret values are
// replaced.
func Manifests(resources []recorder.Resource) ([]Manifest, error) {
	var manifests []Manifest
	for _, r := range resources {
		if !r.Custom || !strings.HasPrefix(r.Type, "kubernetes:") {
			continue
		}
		manifest, err := newManifest(r)
		if err != nil {
			return nil, err
		}
		manifests = append(manifests, manifest)
	}
	slices.SortFunc(manifests, func(a, b Manifest) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return manifests, nil
}

func newManifest(r recorder.Resource) (Manifest, error) {
	object := r.Body(standIn(r.Type == "kubernetes:core/v1:Secret"))
	metadata, _ := object["metadata"].(map[string]any)
	m := Manifest{object: object}
	m.Kind, _ = object["kind"].(string)
	m.Name, _ = metadata["name"].(string)
	m.Namespace, _ = metadata["namespace"].(string)
	if m.Kind == "" || m.Name == "" {
		return Manifest{}, fmt.Errorf("the resource %s of type %s has no kind or no metadata.name: it is not a Kubernetes object", r.Name, r.Type)
	}
	if m.rank = slices.Index(order, m.Kind); m.rank < 0 {
		m.rank = len(order)
	}
	return m, nil
}

// standIn replaces what is secret and keeps its shape. The values of a Secret
// are written in base64.
func standIn(encoded bool) func(any) any {
	text := secretStandIn
	if encoded {
		text = base64.StdEncoding.EncodeToString([]byte(text))
	}
	var hide func(any) any
	hide = func(value any) any {
		switch v := value.(type) {
		case map[string]any:
			for key := range v {
				v[key] = hide(v[key])
			}
			return v
		case []any:
			for i := range v {
				v[i] = hide(v[i])
			}
			return v
		default:
			return text
		}
	}
	return hide
}

// FileName is one that sorts as the manifests do, such as
// 14-deployment-headroom-redis.yaml.
func (m Manifest) FileName() string {
	parts := []string{fmt.Sprintf("%02d", m.rank), strings.ToLower(m.Kind)}
	if m.Namespace != "" {
		parts = append(parts, m.Namespace)
	}
	name := strings.ReplaceAll(m.Name, ":", "-")
	return strings.Join(append(parts, name), "-") + ".yaml"
}

// YAML is the object as a document with its keys in alphabetical order.
func (m Manifest) YAML() ([]byte, error) {
	var content bytes.Buffer
	encoder := yaml.NewEncoder(&content)
	encoder.SetIndent(2)
	if err := encoder.Encode(whole(m.object)); err != nil {
		return nil, fmt.Errorf("writing the %s %s: %w", m.Kind, m.Name, err)
	}
	return content.Bytes(), encoder.Close()
}

// Join writes the manifests as one file of several documents.
func Join(manifests []Manifest) ([]byte, error) {
	var documents [][]byte
	for _, m := range manifests {
		document, err := m.YAML()
		if err != nil {
			return nil, err
		}
		documents = append(documents, document)
	}
	return bytes.Join(documents, []byte("---\n")), nil
}

// whole turns whole numbers, which the engine knows as floating-point ones,
// into integers, and leaves out what has no value.
func whole(value any) any {
	switch v := value.(type) {
	case map[string]any:
		object := make(map[string]any, len(v))
		for key, inner := range v {
			if inner != nil {
				object[key] = whole(inner)
			}
		}
		return object
	case []any:
		list := make([]any, len(v))
		for i, inner := range v {
			list[i] = whole(inner)
		}
		return list
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
		return v
	default:
		return v
	}
}
