// Package policy holds Kubernetes objects to what a cluster that several teams
// share asks of them: pods without rights that they don't need and with bounds
// on what they use, images that don't change under their name, accounts that
// may do what is listed.
//
// Register has a Pulumi program check whatever it asks for, in preview and in
// up; policypack is the same as a policy pack, for any program.
package policy

import (
	"fmt"
	"slices"
	"strings"
)

// ExemptAnnotation on an object lists the rules that it may break, separated by
// commas, such as "read-only-root, no-capabilities".
const ExemptAnnotation = "headroom.dev/policy-exempt"

// Object is a Kubernetes object that a program asks for.
type Object struct {
	Type string         // Pulumi's type token, such as kubernetes:apps/v1:Deployment
	Name string         // in the program
	Body map[string]any // its inputs as JSON's types; Unknown where only the cluster will know
}

// Unknown stands for a value that is not known before the cluster was asked. No
// rule is broken by one.
var Unknown any = unknown{}

type unknown struct{}

// Options are what is asked for on purpose.
type Options struct {
	AllowNodePorts bool // Services may take a port of every node
}

// Violation is a rule that an object breaks.
type Violation struct {
	Rule    string // its name
	Object  string // type and name of the object
	Problem string // what is wrong, and where
}

// String gives the violation in one line.
func (v Violation) String() string { return v.Object + ": " + v.Problem + " (" + v.Rule + ")" }

// Rule is one thing that objects are held to.
type Rule struct {
	Name        string
	Description string // what must hold, as a sentence
	problems    func(o Object, options Options) []string
}

// Check gives the rule's violations by one object.
func (r Rule) Check(o Object, options Options) []Violation {
	if !strings.HasPrefix(o.Type, "kubernetes:") || o.exempt(r.Name) {
		return nil
	}
	var violations []Violation
	for _, problem := range r.problems(o, options) {
		violations = append(violations, Violation{Rule: r.Name, Object: o.title(), Problem: problem})
	}
	return violations
}

// Check gives the violations of all rules by one object.
func Check(o Object, options Options) []Violation {
	var violations []Violation
	for _, rule := range Rules() {
		violations = append(violations, rule.Check(o, options)...)
	}
	return violations
}

func (o Object) kind() string { return o.Type[strings.LastIndex(o.Type, ":")+1:] }

// title is the kind and the name in the cluster, or in the program where the
// cluster gives one.
func (o Object) title() string {
	if name, ok := at(o.Body, "metadata", "name").(string); ok {
		return o.kind() + " " + name
	}
	return o.kind() + " " + o.Name
}

func (o Object) exempt(rule string) bool {
	list, _ := at(o.Body, "metadata", "annotations", ExemptAnnotation).(string)
	return slices.ContainsFunc(strings.Split(list, ","), func(name string) bool { return strings.TrimSpace(name) == rule })
}

// podPaths say where each kind has its pods' spec.
var podPaths = map[string][]string{
	"Pod":                   {"spec"},
	"Deployment":            {"spec", "template", "spec"},
	"ReplicaSet":            {"spec", "template", "spec"},
	"ReplicationController": {"spec", "template", "spec"},
	"StatefulSet":           {"spec", "template", "spec"},
	"DaemonSet":             {"spec", "template", "spec"},
	"Job":                   {"spec", "template", "spec"},
	"CronJob":               {"spec", "jobTemplate", "spec", "template", "spec"},
}

// pod is the spec of the object's pods; ok is false where it has none.
func (o Object) pod() (spec map[string]any, ok bool) {
	path, ok := podPaths[o.kind()]
	if !ok {
		return nil, false
	}
	spec, ok = at(o.Body, path...).(map[string]any)
	return spec, ok
}

// container is one of a pod's, of whatever sort.
type container struct {
	name string
	body map[string]any
	pod  map[string]any
}

func (o Object) containers() []container {
	pod, ok := o.pod()
	if !ok {
		return nil
	}
	var all []container
	for _, sort := range []string{"initContainers", "containers"} {
		for _, body := range objects(pod[sort]) {
			name, _ := body["name"].(string)
			all = append(all, container{name: name, body: body, pod: pod})
		}
	}
	return all
}

// security is a setting of the container's, or of its pod's where the container
// has none of its own.
func (c container) security(path ...string) any {
	path = append([]string{"securityContext"}, path...)
	if own := at(c.body, path...); own != nil {
		return own
	}
	return at(c.pod, path...)
}

// at follows a path of keys; nil where it ends early.
func at(value any, path ...string) any {
	for _, key := range path {
		if value == Unknown {
			return Unknown
		}
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[key]
	}
	return value
}

// is tells whether the value is the wanted one, or may become it.
func is(value, want any) bool { return value == want || value == Unknown }

// objects are the elements of a list that are known objects.
func objects(value any) []map[string]any {
	list, _ := value.([]any)
	var found []map[string]any
	for _, element := range list {
		if object, ok := element.(map[string]any); ok {
			found = append(found, object)
		}
	}
	return found
}

// has tells whether a list has the element, or may come to have it.
func has(list any, want string) bool {
	elements, _ := list.([]any)
	return list == Unknown || slices.ContainsFunc(elements, func(element any) bool { return is(element, want) })
}

// certainly tells whether a list has the element.
func certainly(list any, want string) bool {
	elements, _ := list.([]any)
	return slices.Contains(elements, any(want))
}

// each has a check speak for every container.
func each(check func(c container) string) func(Object, Options) []string {
	return func(o Object, _ Options) []string {
		var problems []string
		for _, c := range o.containers() {
			if problem := check(c); problem != "" {
				problems = append(problems, fmt.Sprintf("container %s %s", c.name, problem))
			}
		}
		return problems
	}
}
