package policy

import (
	"fmt"
	"regexp"
	"strings"
)

// Rules are all rules, always in the same order.
func Rules() []Rule {
	return []Rule{
		{"non-root", "No container runs as root.", each(nonRoot)},
		{"read-only-root", "No container can write to its root file system.", each(readOnlyRoot)},
		{"no-privilege", "No container is privileged or can gain privileges.", each(noPrivilege)},
		{"no-capabilities", "Every container drops all capabilities and adds none.", each(noCapabilities)},
		{"seccomp", "Every container has a seccomp profile.", each(seccomp)},
		{"bounded-resources", "Every container requests CPU and memory, and has a limit of both.", each(boundedResources)},
		{"pinned-image", "Every image has a tag other than latest, or a digest.", each(pinnedImage)},
		{"no-secret-in-env", "No password, token or key is written into an environment variable.", each(noSecretInEnv)},
		{"no-host-access", "No pod shares a namespace, a port or a folder of its node.", noHostAccess},
		{"no-unused-token", "No pod has a service account's token, but one that names its account.", noUnusedToken},
		{"no-node-port", "No Service takes a port of every node, unless that is asked for.", noNodePort},
		{"no-wildcard-rights", "No role allows everything, and none reads every Secret.", noWildcardRights},
		{"pod-security", "Every namespace enforces a Pod Security Standard, baseline or restricted.", podSecurity},
	}
}

func nonRoot(c container) string {
	switch user := c.security("runAsUser"); {
	case user == 0.0 || user == 0:
		return "runs as root: securityContext.runAsUser is 0"
	case !is(c.security("runAsNonRoot"), true):
		return "may run as root: set securityContext.runAsNonRoot to true"
	}
	return ""
}

func readOnlyRoot(c container) string {
	if !is(at(c.body, "securityContext", "readOnlyRootFilesystem"), true) {
		return "can write to its root file system: set securityContext.readOnlyRootFilesystem to true, and mount an emptyDir where it writes"
	}
	return ""
}

func noPrivilege(c container) string {
	switch {
	case at(c.body, "securityContext", "privileged") == true:
		return "is privileged: leave securityContext.privileged out"
	case !is(at(c.body, "securityContext", "allowPrivilegeEscalation"), false):
		return "can gain privileges: set securityContext.allowPrivilegeEscalation to false"
	}
	return ""
}

func noCapabilities(c container) string {
	capabilities := at(c.body, "securityContext", "capabilities")
	added, _ := at(capabilities, "add").([]any)
	switch {
	case !has(at(capabilities, "drop"), "ALL"):
		return `keeps capabilities: set securityContext.capabilities.drop to ["ALL"]`
	case len(added) > 0:
		return fmt.Sprintf("adds the capabilities %v: leave securityContext.capabilities.add out", added)
	}
	return ""
}

func seccomp(c container) string {
	profile := c.security("seccompProfile", "type")
	if !is(profile, "RuntimeDefault") && profile != "Localhost" {
		return "has no seccomp profile: set securityContext.seccompProfile.type to RuntimeDefault"
	}
	return ""
}

func boundedResources(c container) string {
	var missing []string
	for _, bound := range []string{"requests", "limits"} {
		for _, resource := range []string{"cpu", "memory"} {
			if at(c.body, "resources", bound, resource) == nil {
				missing = append(missing, "resources."+bound+"."+resource)
			}
		}
	}
	if missing != nil {
		return "lacks " + strings.Join(missing, ", ")
	}
	return ""
}

func pinnedImage(c container) string {
	image, ok := c.body["image"].(string)
	if !ok || strings.Contains(image, "@") {
		return ""
	}
	_, tag, tagged := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	if !tagged || tag == "latest" {
		return fmt.Sprintf("runs %s, which may be another image tomorrow: name a version or a digest", image)
	}
	return ""
}

// secretName matches the names of variables that hold what must not be seen.
var secretName = regexp.MustCompile(`(?i)(^|_)(password|passwd|secret|token|(api|access|private)_?key|credentials?)$`)

func noSecretInEnv(c container) string {
	var found []string
	for _, variable := range objects(c.body["env"]) {
		name, _ := variable["name"].(string)
		if value, _ := variable["value"].(string); value != "" && secretName.MatchString(name) {
			found = append(found, name)
		}
	}
	if found != nil {
		return "shows " + strings.Join(found, ", ") + " to whoever may read the object: take it from a Secret, with valueFrom.secretKeyRef"
	}
	return ""
}

func noHostAccess(o Object, _ Options) []string {
	pod, ok := o.pod()
	if !ok {
		return nil
	}
	var problems []string
	for _, shared := range []string{"hostNetwork", "hostPID", "hostIPC"} {
		if pod[shared] == true {
			problems = append(problems, "its pods share the node's: leave "+shared+" out")
		}
	}
	for _, volume := range objects(pod["volumes"]) {
		if volume["hostPath"] != nil {
			problems = append(problems, fmt.Sprintf("the volume %v is a folder of the node: use another source than hostPath", volume["name"]))
		}
	}
	for _, c := range o.containers() {
		for _, port := range objects(c.body["ports"]) {
			if host := port["hostPort"]; host != nil && host != 0.0 {
				problems = append(problems, fmt.Sprintf("container %s takes the node's port %v: leave hostPort out", c.name, host))
			}
		}
	}
	return problems
}

func noUnusedToken(o Object, _ Options) []string {
	pod, ok := o.pod()
	if !ok || is(pod["automountServiceAccountToken"], false) || pod["serviceAccountName"] != nil {
		return nil
	}
	return []string{"its pods have a token of the namespace's default account: set automountServiceAccountToken to false, or name an account"}
}

func noNodePort(o Object, options Options) []string {
	if o.kind() != "Service" || options.AllowNodePorts || at(o.Body, "spec", "type") != "NodePort" {
		return nil
	}
	return []string{"it takes a port of every node: use spec.type ClusterIP with an Ingress or a Gateway, or LoadBalancer"}
}

func noWildcardRights(o Object, _ Options) []string {
	if o.kind() != "Role" && o.kind() != "ClusterRole" {
		return nil
	}
	var problems []string
	for i, rule := range objects(o.Body["rules"]) {
		for _, part := range []string{"apiGroups", "resources", "verbs"} {
			if certainly(rule[part], "*") {
				problems = append(problems, fmt.Sprintf("rules[%d].%s is everything: list what is needed", i, part))
			}
		}
		if certainly(rule["resources"], "secrets") && rule["resourceNames"] == nil {
			problems = append(problems, fmt.Sprintf("rules[%d] is about every Secret: name those that are needed in resourceNames", i))
		}
	}
	return problems
}

func podSecurity(o Object, _ Options) []string {
	if o.kind() != "Namespace" {
		return nil
	}
	level := at(o.Body, "metadata", "labels", "pod-security.kubernetes.io/enforce")
	if !is(level, "restricted") && level != "baseline" {
		return []string{"it takes any pod: set the label pod-security.kubernetes.io/enforce to restricted or baseline"}
	}
	return nil
}
