package policy

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"
)

// deployment keeps every rule.
const deployment = `{
	"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "front", "annotations": {}},
	"spec": {"template": {"spec": {
		"automountServiceAccountToken": false,
		"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
		"volumes": [{"name": "scratch", "emptyDir": {}}],
		"containers": [{
			"name": "web", "image": "example.com:5000/web:1.2",
			"env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, {"name": "TOKEN_TTL", "value": "5m"}],
			"ports": [{"containerPort": 8080}],
			"resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
			"securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}
		}]
	}}}
}`

func object(t *testing.T, typ, body string) Object {
	t.Helper()
	o := Object{Type: typ, Name: "in-the-program"}
	require.NoError(t, json.Unmarshal([]byte(body), &o.Body), body)
	return o
}

func lines(violations []Violation) []string {
	var all []string
	for _, v := range violations {
		all = append(all, v.String())
	}
	return all
}

func TestPods(t *testing.T) {
	const typ = "kubernetes:apps/v1:Deployment"
	require.Empty(t, Check(object(t, typ, deployment), Options{}))
	for _, test := range []struct{ name, old, new, want string }{
		{"a pod that may run as root", `"runAsNonRoot": true, `, ``,
			"Deployment front: container web may run as root: set securityContext.runAsNonRoot to true (non-root)"},
		{"a container that overrides its pod", `"securityContext": {"allow`, `"securityContext": {"runAsNonRoot": false, "allow`,
			"Deployment front: container web may run as root: set securityContext.runAsNonRoot to true (non-root)"},
		{"user 0", `"runAsNonRoot": true`, `"runAsNonRoot": true, "runAsUser": 0`,
			"Deployment front: container web runs as root: securityContext.runAsUser is 0 (non-root)"},
		{"a writable root file system", `"readOnlyRootFilesystem": true, `, ``,
			"Deployment front: container web can write to its root file system: set securityContext.readOnlyRootFilesystem to true, and mount an emptyDir where it writes (read-only-root)"},
		{"privilege escalation by default", `"allowPrivilegeEscalation": false, `, ``,
			"Deployment front: container web can gain privileges: set securityContext.allowPrivilegeEscalation to false (no-privilege)"},
		{"a privileged container", `"allowPrivilegeEscalation": false`, `"privileged": true`,
			"Deployment front: container web is privileged: leave securityContext.privileged out (no-privilege)"},
		{"capabilities by default", `, "capabilities": {"drop": ["ALL"]}`, ``,
			`Deployment front: container web keeps capabilities: set securityContext.capabilities.drop to ["ALL"] (no-capabilities)`},
		{"a capability added", `{"drop": ["ALL"]}`, `{"drop": ["ALL"], "add": ["NET_ADMIN"]}`,
			"Deployment front: container web adds the capabilities [NET_ADMIN]: leave securityContext.capabilities.add out (no-capabilities)"},
		{"no seccomp profile", `, "seccompProfile": {"type": "RuntimeDefault"}`, ``,
			"Deployment front: container web has no seccomp profile: set securityContext.seccompProfile.type to RuntimeDefault (seccomp)"},
		{"an unconfined one", `"RuntimeDefault"`, `"Unconfined"`,
			"Deployment front: container web has no seccomp profile: set securityContext.seccompProfile.type to RuntimeDefault (seccomp)"},
		{"no limit of memory", `"limits": {"cpu": "1", "memory": "1Gi"}`, `"limits": {"cpu": "1"}`,
			"Deployment front: container web lacks resources.limits.memory (bounded-resources)"},
		{"no resources at all", `"resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},`, ``,
			"Deployment front: container web lacks resources.requests.cpu, resources.requests.memory, resources.limits.cpu, resources.limits.memory (bounded-resources)"},
		{"an image without a tag, at a host with a port", `web:1.2`, `web`,
			"Deployment front: container web runs example.com:5000/web, which may be another image tomorrow: name a version or a digest (pinned-image)"},
		{"latest", `web:1.2`, `web:latest`,
			"Deployment front: container web runs example.com:5000/web:latest, which may be another image tomorrow: name a version or a digest (pinned-image)"},
		{"a password in the environment", `"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}`, `"name": "DB_PASSWORD", "value": "hunter2"`,
			"Deployment front: container web shows DB_PASSWORD to whoever may read the object: take it from a Secret, with valueFrom.secretKeyRef (no-secret-in-env)"},
		{"the node's network", `"volumes"`, `"hostNetwork": true, "volumes"`,
			"Deployment front: its pods share the node's: leave hostNetwork out (no-host-access)"},
		{"a folder of the node", `"emptyDir": {}`, `"hostPath": {"path": "/"}`,
			"Deployment front: the volume scratch is a folder of the node: use another source than hostPath (no-host-access)"},
		{"a port of the node", `"containerPort": 8080`, `"containerPort": 8080, "hostPort": 80`,
			"Deployment front: container web takes the node's port 80: leave hostPort out (no-host-access)"},
		{"a token by default", `"automountServiceAccountToken": false,`, ``,
			"Deployment front: its pods have a token of the namespace's default account: set automountServiceAccountToken to false, or name an account (no-unused-token)"},
		{"an init container", `"containers": [{`, `"initContainers": [{"name": "first", "image": "i:1", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
			"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}], "containers": [{`,
			"Deployment front: container first can write to its root file system: set securityContext.readOnlyRootFilesystem to true, and mount an emptyDir where it writes (read-only-root)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Contains(t, deployment, test.old)
			broken := object(t, typ, strings.Replace(deployment, test.old, test.new, 1))
			require.Equal(t, []string{test.want}, lines(Check(broken, Options{})))
		})
	}
}

func TestWhatIsAllowed(t *testing.T) {
	for _, test := range []struct{ name, old, new string }{
		{"an account that is named", `"automountServiceAccountToken": false`, `"serviceAccountName": "reader"`},
		{"a digest", `web:1.2`, `web@sha256:00`},
		{"a profile of the node's", `"RuntimeDefault"`, `"Localhost"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Contains(t, deployment, test.old)
			require.Empty(t, Check(object(t, "kubernetes:apps/v1:Deployment", strings.Replace(deployment, test.old, test.new, 1)), Options{}))
		})
	}
}

// Every kind that has pods is looked at, wherever it keeps their spec.
func TestKindsWithPods(t *testing.T) {
	const bad = `{"containers": [{"name": "c", "image": "i"}]}`
	for typ, body := range map[string]string{
		"core/v1:Pod": bad, "apps/v1:StatefulSet": `{"template": {"spec": ` + bad + `}}`, "apps/v1:DaemonSet": `{"template": {"spec": ` + bad + `}}`,
		"apps/v1:ReplicaSet": `{"template": {"spec": ` + bad + `}}`, "batch/v1:Job": `{"template": {"spec": ` + bad + `}}`,
		"batch/v1:CronJob": `{"jobTemplate": {"spec": {"template": {"spec": ` + bad + `}}}}`,
	} {
		broken := map[string]bool{}
		for _, v := range Check(object(t, "kubernetes:"+typ, `{"spec": `+body+`}`), Options{}) {
			broken[v.Rule] = true
		}
		require.Len(t, broken, 8, typ)
	}
	require.Empty(t, Check(object(t, "aws:ecs/service:Service", `{"spec": `+bad+`}`), Options{}), "not Kubernetes'")
}

func TestOtherKinds(t *testing.T) {
	for _, test := range []struct {
		name, typ, body string
		options         Options
		want            []string
	}{
		{"a node port", "core/v1:Service", `{"metadata": {"name": "s"}, "spec": {"type": "NodePort"}}`, Options{},
			[]string{"Service s: it takes a port of every node: use spec.type ClusterIP with an Ingress or a Gateway, or LoadBalancer (no-node-port)"}},
		{"a node port that is asked for", "core/v1:Service", `{"spec": {"type": "NodePort"}}`, Options{AllowNodePorts: true}, nil},
		{"a Service inside", "core/v1:Service", `{"spec": {}}`, Options{}, nil},
		{"a role that may do everything", "rbac.authorization.k8s.io/v1:ClusterRole", `{"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}`, Options{},
			[]string{
				"ClusterRole in-the-program: rules[1].apiGroups is everything: list what is needed (no-wildcard-rights)",
				"ClusterRole in-the-program: rules[1].resources is everything: list what is needed (no-wildcard-rights)",
				"ClusterRole in-the-program: rules[1].verbs is everything: list what is needed (no-wildcard-rights)",
			}},
		{"a role that reads every Secret", "rbac.authorization.k8s.io/v1:Role", `{"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}`, Options{},
			[]string{"Role in-the-program: rules[0] is about every Secret: name those that are needed in resourceNames (no-wildcard-rights)"}},
		{"a role that reads one Secret", "rbac.authorization.k8s.io/v1:Role", `{"rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]}]}`, Options{}, nil},
		{"a namespace that takes any pod", "core/v1:Namespace", `{"metadata": {"name": "n"}}`, Options{},
			[]string{"Namespace n: it takes any pod: set the label pod-security.kubernetes.io/enforce to restricted or baseline (pod-security)"}},
		{"a namespace with a standard", "core/v1:Namespace", `{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}`, Options{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, lines(Check(object(t, "kubernetes:"+test.typ, test.body), test.options)))
		})
	}
}

func TestAnExemptionIsForTheRulesThatItNames(t *testing.T) {
	exempt := strings.Replace(deployment, `"annotations": {}`, `"annotations": {"headroom.dev/policy-exempt": "read-only-root, pinned-image"}`, 1)
	exempt = strings.Replace(exempt, `"readOnlyRootFilesystem": true, `, ``, 1)
	exempt = strings.Replace(exempt, `"allowPrivilegeEscalation": false, `, ``, 1)
	violations := Check(object(t, "kubernetes:apps/v1:Deployment", exempt), Options{})
	require.Len(t, violations, 1)
	require.Equal(t, "no-privilege", violations[0].Rule)
}

// What only the cluster knows breaks nothing, wherever it is.
func TestUnknownValuesBreakNothing(t *testing.T) {
	unknown := resource.MakeComputed(resource.NewProperty(""))
	var inputs map[string]any
	require.NoError(t, json.Unmarshal([]byte(deployment), &inputs))
	whole := resource.NewPropertyMapFromMap(inputs)
	count := 0
	var walk func(v resource.PropertyValue, path string)
	walk = func(v resource.PropertyValue, path string) {
		switch {
		case v.IsObject():
			for key, value := range v.ObjectValue() {
				// A name is what violations are told by.
				if key == "name" || key == "kind" {
					continue
				}
				v.ObjectValue()[key] = unknown
				require.Empty(t, lines(Check(Object{Type: "kubernetes:apps/v1:Deployment", Body: Body(whole)}, Options{})), "%s.%s", path, key)
				count++
				v.ObjectValue()[key] = value
				walk(value, path+"."+string(key))
			}
		case v.IsArray():
			for i, value := range v.ArrayValue() {
				v.ArrayValue()[i] = unknown
				violations := Check(Object{Type: "kubernetes:apps/v1:Deployment", Body: Body(whole)}, Options{})
				require.Empty(t, lines(violations), "%s[%d]", path, i)
				v.ArrayValue()[i] = value
				walk(value, path)
			}
		}
	}
	walk(resource.NewProperty(whole), "")
	require.Greater(t, count, 20)
}

func TestDocsListTheRules(t *testing.T) {
	content, err := os.ReadFile("../../docs/policy.md")
	require.NoError(t, err)
	for _, rule := range Rules() {
		require.Contains(t, string(content), "| `"+rule.Name+"` | "+rule.Description+" |\n")
	}
}
