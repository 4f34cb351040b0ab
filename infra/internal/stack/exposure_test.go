package stack

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	ingresses = "networking.k8s.io/v1:Ingress"
	routes    = "gateway.networking.k8s.io/v1:HTTPRoute"
)

func TestIngress(t *testing.T) {
	b := build(t, "exposure=ingress", "exposureHost=headroom.example.com", "ingressClass=nginx", "ingressTlsSecret=headroom-tls",
		`ingressAnnotations={"nginx.ingress.kubernetes.io/proxy-body-size":"10m"}`)
	ingress := b.one(t, ingresses, "dispatcher")
	require.Equal(t, "10m", at(ingress.body, "metadata", "annotations", "nginx.ingress.kubernetes.io/proxy-body-size"))
	require.JSONEq(t, `{
		"ingressClassName": "nginx",
		"tls": [{"hosts": ["headroom.example.com"], "secretName": "headroom-tls"}],
		"rules": [{"host": "headroom.example.com", "http": {"paths": [
			{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "dispatcher", "port": {"name": "http"}}}}]}}]
	}`, asJSON(t, ingress.body["spec"]))
	require.Equal(t, "https://headroom.example.com", b.outputs["dispatcherUrl"])

	plain := build(t, "exposure=ingress", "exposureHost=headroom.example.com", "exposureTls=false")
	require.Nil(t, at(plain.one(t, ingresses, "dispatcher").body, "spec", "tls"))
	require.Nil(t, at(plain.one(t, ingresses, "dispatcher").body, "spec", "ingressClassName"))
	require.Len(t, at(plain.one(t, ingresses, "dispatcher").body, "metadata", "annotations"), 1, "the field manager alone")
	require.Equal(t, "http://headroom.example.com", plain.outputs["dispatcherUrl"])

	theirs := build(t, "exposure=ingress", "exposureHost=headroom.example.com")
	require.JSONEq(t, `[{"hosts": ["headroom.example.com"]}]`, asJSON(t, at(theirs.one(t, ingresses, "dispatcher").body, "spec", "tls")),
		"without a Secret the controller's own certificate is used, not none")
}

func TestGateway(t *testing.T) {
	b := build(t, "exposure=gateway", "exposureHost=headroom.example.com", "gatewayName=public", "gatewayNamespace=gateways", "gatewayListener=https", "gatewayTimeout=75s")
	require.JSONEq(t, `{
		"parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
		"hostnames": ["headroom.example.com"],
		"rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [{"name": "dispatcher", "port": 5001}],
			"timeouts": {"request": "1m15s"}}]
	}`, asJSON(t, b.one(t, routes, "dispatcher").body["spec"]))
	require.Equal(t, "https://headroom.example.com", b.outputs["dispatcherUrl"])
	require.Empty(t, b.all(ingresses))

	b = build(t, "exposure=gateway", "exposureHost=headroom.example.com", "gatewayName=public", "exposureTls=false")
	require.Nil(t, objects(at(b.one(t, routes, "dispatcher").body, "spec", "rules"))[0]["timeouts"])
	require.JSONEq(t, `[{"name": "public"}]`, asJSON(t, at(b.one(t, routes, "dispatcher").body, "spec", "parentRefs")))
	require.Equal(t, "http://headroom.example.com", b.outputs["dispatcherUrl"])
}

// What leads to the dispatcher leads to a Service and a port that it has, and
// nothing else is open to the outside.
func TestBehindAnIngressOrAGatewayNoServiceIsOpen(t *testing.T) {
	for _, exposure := range [][]string{
		{"exposure=ingress", "exposureHost=headroom.example.com"},
		{"exposure=gateway", "exposureHost=headroom.example.com", "gatewayName=public"},
	} {
		for _, serviceType := range []string{"NodePort", "LoadBalancer"} {
			b := build(t, append(exposure, "serviceType="+serviceType)...)
			for _, s := range b.all(services) {
				require.Equal(t, "ClusterIP", at(s.body, "spec", "type"), s.name)
			}
			port := objects(at(b.one(t, services, "dispatcher").body, "spec", "ports"))[0]
			require.Equal(t, "http", port["name"])
			require.EqualValues(t, 5001, port["port"])
		}
	}
	require.Empty(t, build(t).all(ingresses))
	require.Empty(t, build(t).all(routes))
}

func TestOnlyTheClientsNamespacesReachTheDispatcher(t *testing.T) {
	b := build(t, "exposure=ingress", "exposureHost=headroom.example.com", `clientNamespaces=["ingress-nginx","shop"]`)
	var peers []string
	for _, rule := range objects(at(b.one(t, policies, "dispatcher").body, "spec", "ingress")) {
		if objects(rule["ports"])[0]["port"] == 5001.0 {
			for _, peer := range objects(rule["from"]) {
				require.Len(t, peer, 1)
				peers = append(peers, fmt.Sprint(at(peer, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name")))
			}
		}
	}
	require.Equal(t, []string{"ingress-nginx", "shop"}, peers)
}

// outgoing are the ways that the network policies leave open, from the side
// where they begin.
func outgoing(t *testing.T, b built) []string {
	t.Helper()
	var found []string
	for _, p := range b.all(policies) {
		require.Equal(t, []string{"Ingress", "Egress"}, texts(at(p.body, "spec", "policyTypes")), p.name)
		from := at(p.body, "spec", "podSelector", "matchLabels", "app.kubernetes.io/name")
		for _, rule := range objects(at(p.body, "spec", "egress")) {
			var ports []string
			for _, port := range objects(rule["ports"]) {
				ports = append(ports, fmt.Sprintf("%v/%s", port["protocol"], strconv.Itoa(int(port["port"].(float64)))))
			}
			require.NotEmpty(t, ports, "%v may go to every port", from)
			to := "anywhere"
			if rule["to"] != nil {
				require.Len(t, objects(rule["to"]), 1)
				to = fmt.Sprint(at(objects(rule["to"])[0], "podSelector", "matchLabels", "app.kubernetes.io/name"))
			}
			found = append(found, fmt.Sprintf("%v → %s %s", from, to, strings.Join(ports, " ")))
		}
	}
	return found
}

func TestEgress(t *testing.T) {
	closed := func(settings ...string) []string {
		return outgoing(t, build(t, append(settings, "networkPolicyEgress=true")...))
	}
	hpa := []string{
		"dispatcher → redis TCP/6379", "dispatcher → model-server TCP/6001",
		"dispatcher → anywhere TCP/443 TCP/6443", "dispatcher → anywhere UDP/53 TCP/53",
		"prometheus → dispatcher TCP/8000", "prometheus → model-server TCP/8001", "prometheus → anywhere UDP/53 TCP/53",
	}
	require.ElementsMatch(t, hpa, closed("scaler=hpa"))
	custom := slices.Concat(hpa, []string{"prometheus → scaler TCP/8002",
		"scaler → prometheus TCP/9090", "scaler → anywhere TCP/443 TCP/6443", "scaler → anywhere UDP/53 TCP/53"})
	require.ElementsMatch(t, custom, closed())
	require.ElementsMatch(t, append(custom, "dispatcher → scaler TCP/8002"), closed("minReplicas=0"))
	require.Contains(t, closed("apiServerPorts=[8443]"), "scaler → anywhere TCP/8443")

	// Who reaches nothing has no rule at all.
	b := build(t, "networkPolicyEgress=true")
	for _, name := range []string{"model-server", "redis", "default-deny"} {
		require.Empty(t, objects(at(b.one(t, policies, name).body, "spec", "egress")), name)
	}
}

// Each way within the namespace is open at both of its ends.
func TestEgressMatchesIngress(t *testing.T) {
	for _, settings := range [][]string{nil, {"minReplicas=0"}, {"scaler=hpa"}, {"redisReplicas=2", "redisExporterImage=oliver006/redis_exporter:v1.67.0"}} {
		b := build(t, append(settings, "networkPolicyEgress=true")...)
		var inward []string
		for _, p := range b.all(policies) {
			to := at(p.body, "spec", "podSelector", "matchLabels", "app.kubernetes.io/name")
			for _, rule := range objects(at(p.body, "spec", "ingress")) {
				for _, peer := range objects(rule["from"]) {
					inward = append(inward, fmt.Sprintf("%v → %v TCP/%v", at(peer, "podSelector", "matchLabels", "app.kubernetes.io/name"), to,
						objects(rule["ports"])[0]["port"]))
				}
			}
		}
		var outward []string
		for _, way := range outgoing(t, b) {
			if !strings.Contains(way, "anywhere") {
				outward = append(outward, way)
			}
		}
		require.NotEmpty(t, inward)
		require.ElementsMatch(t, inward, outward, "%v", settings)
	}
}
