package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// How clients reach the dispatcher.
const (
	ExposureService = "service" // its Service, of the type ServiceType
	ExposureIngress = "ingress" // an Ingress
	ExposureGateway = "gateway" // an HTTPRoute of the Gateway API
)

// Exposure says how clients reach the dispatcher, and who may.
type Exposure struct {
	Kind string // ExposureService, ExposureIngress or ExposureGateway
	Host string // host name in the URL, with an Ingress or a Gateway
	TLS  bool   // whether clients speak https, with an Ingress or a Gateway

	IngressClass       string // name of the IngressClass; empty: the cluster's default
	IngressTLSSecret   string // with TLS, the Secret in the namespace; empty: the controller's own certificate
	IngressAnnotations map[string]string

	GatewayName      string
	GatewayNamespace string        // empty: the stack's own
	GatewayListener  string        // empty: every listener that takes the host
	GatewayTimeout   time.Duration // of a request, 1s to 1h, whole seconds; 0: the Gateway's own

	ClientNamespaces []string // with network policies, the namespaces that the dispatcher is reached from; none: everyone
}

// Outside tells whether clients come by an Ingress or a Gateway.
func (e Exposure) Outside() bool { return e.Kind != ExposureService }

func (r *reader) exposure() Exposure {
	return Exposure{
		Kind: r.text("exposure", ExposureService),
		Host: r.text("exposureHost", ""),
		TLS:  r.boolean("exposureTls", true),

		IngressClass:       r.text("ingressClass", ""),
		IngressTLSSecret:   r.text("ingressTlsSecret", ""),
		IngressAnnotations: r.textMap("ingressAnnotations"),

		GatewayName:      r.text("gatewayName", ""),
		GatewayNamespace: r.text("gatewayNamespace", ""),
		GatewayListener:  r.text("gatewayListener", ""),
		GatewayTimeout:   r.duration("gatewayTimeout", 0),

		ClientNamespaces: r.textList("clientNamespaces"),
	}
}

func (v *validator) exposure(c Config) {
	const (
		objectName = "must be lower-case letters, digits, - and ."
		nothing    = "with headroom:networkPolicies false, which closes nothing"
	)
	e := c.Exposure
	v.oneOf("exposure", e.Kind, ExposureService, ExposureIngress, ExposureGateway)
	v.rule(e.Host == "" || isObjectName(e.Host), "exposureHost", e.Host, "must be a host name in lower case, such as headroom.example.com")
	for _, name := range []struct{ key, value string }{
		{"ingressClass", e.IngressClass}, {"ingressTlsSecret", e.IngressTLSSecret},
		{"gatewayName", e.GatewayName}, {"gatewayListener", e.GatewayListener},
	} {
		v.rule(name.value == "" || isObjectName(name.value), name.key, name.value, objectName)
	}
	if e.GatewayTimeout != 0 {
		v.seconds("gatewayTimeout", e.GatewayTimeout, time.Second, time.Hour)
	}
	v.rule(e.GatewayNamespace == "" || dnsLabel.MatchString(e.GatewayNamespace), "gatewayNamespace", e.GatewayNamespace, "must be a namespace's name")
	for _, key := range slices.Sorted(maps.Keys(e.IngressAnnotations)) {
		v.rule(labelKey.MatchString(key), field("ingressAnnotations", key), e.IngressAnnotations[key], labelKeyRule)
	}
	if v.sound("exposure") && e.Outside() {
		v.rule(e.Host != "", "exposureHost", e.Host, "must be set with headroom:exposure "+e.Kind)
	}
	if v.sound("exposure") && e.Kind == ExposureGateway {
		v.rule(e.GatewayName != "", "gatewayName", e.GatewayName, "must be set with headroom:exposure gateway")
	}
	v.rule(e.IngressTLSSecret == "" || e.TLS, "ingressTlsSecret", e.IngressTLSSecret, "must be empty with headroom:exposureTls false")

	const clients = "clientNamespaces"
	for i, name := range e.ClientNamespaces {
		v.rule(dnsLabel.MatchString(name), item(clients, i), name, "must be a namespace's name")
	}
	listed := fmt.Sprintf("%d namespaces", len(e.ClientNamespaces))
	if len(e.ClientNamespaces) > 0 {
		v.rule(len(e.ClientNamespaces) <= 100, clients, listed, "must be at most 100")
		v.rule(c.NetworkPolicies, clients, listed, "must be empty "+nothing)
		v.rule(e.Outside() || c.ServiceType == "ClusterIP" || !v.sound("exposure", "serviceType"), clients, listed,
			fmt.Sprintf("must be empty with headroom:serviceType %s, whose clients are outside the cluster", c.ServiceType))
	}
	v.rule(!c.NetworkPolicyEgress || c.NetworkPolicies, "networkPolicyEgress", "true", "must be false "+nothing)
	const ports = "apiServerPorts"
	v.rule(1 <= len(c.APIServerPorts) && len(c.APIServerPorts) <= 10, ports, fmt.Sprintf("%d ports", len(c.APIServerPorts)), "must be 1 to 10 of them")
	for i, port := range c.APIServerPorts {
		v.rule(1 <= port && port <= 65535, item(ports, i), strconv.Itoa(port), wholeNumber(1, 65535))
	}
}
