package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestExposure(t *testing.T) {
	cfg, err := Load(written("exposure=ingress", "exposureHost=headroom.example.com", "ingressClass=nginx", "ingressTlsSecret=headroom-tls",
		`ingressAnnotations={"nginx.ingress.kubernetes.io/proxy-body-size":"10m","nginx.ingress.kubernetes.io/proxy-read-timeout":75}`,
		`clientNamespaces=["ingress-nginx","shop"]`), project())
	require.NoError(t, err)
	require.Equal(t, Exposure{
		Kind: ExposureIngress, Host: "headroom.example.com", TLS: true, IngressClass: "nginx", IngressTLSSecret: "headroom-tls",
		IngressAnnotations: map[string]string{
			"nginx.ingress.kubernetes.io/proxy-body-size": "10m", "nginx.ingress.kubernetes.io/proxy-read-timeout": "75",
		},
		ClientNamespaces: []string{"ingress-nginx", "shop"},
	}, cfg.Exposure)

	cfg, err = Load(written("exposure=gateway", "exposureHost=headroom.example.com", "exposureTls=false",
		"gatewayName=public", "gatewayNamespace=gateways", "gatewayListener=http", "gatewayTimeout=75s"), project())
	require.NoError(t, err)
	require.Equal(t, Exposure{
		Kind: ExposureGateway, Host: "headroom.example.com", GatewayName: "public", GatewayNamespace: "gateways", GatewayListener: "http", GatewayTimeout: 75 * time.Second,
	}, cfg.Exposure)

	_, err = Load(written("serviceType=ClusterIP", `clientNamespaces=["shop"]`), project())
	require.NoError(t, err, "clients inside the cluster come from namespaces")
}

func TestBadExposure(t *testing.T) {
	const name = "must be lower-case letters, digits, - and ."
	const closesNothing = " with headroom:networkPolicies false, which closes nothing"
	for _, test := range []struct{ setting, message string }{
		{"exposure=tunnel", `headroom:exposure is "tunnel"; must be one of service, ingress, gateway`},
		{"exposure=ingress", `headroom:exposureHost is ""; must be set with headroom:exposure ingress`},
		{"exposureHost=https://a.example", `headroom:exposureHost is "https://a.example"; must be a host name in lower case, such as headroom.example.com`},
		{"exposureTls=secret", `headroom:exposureTls is "secret"; must be true or false`},
		{"ingressClass=Nginx", `headroom:ingressClass is "Nginx"; ` + name},
		{"ingressTlsSecret=a/b", `headroom:ingressTlsSecret is "a/b"; ` + name},
		{`ingressAnnotations=["a"]`, `headroom:ingressAnnotations is "[\"a\"]"; must be a map of texts: found a JSON array`},
		{`ingressAnnotations={"a b":"c"}`, `headroom:ingressAnnotations["a b"] is "c"; must be a key as Kubernetes has them, such as example.com/pool`},
		{"gatewayName=Public", `headroom:gatewayName is "Public"; ` + name},
		{"gatewayNamespace=a.b", `headroom:gatewayNamespace is "a.b"; must be a namespace's name`},
		{"gatewayListener=HTTPS", `headroom:gatewayListener is "HTTPS"; ` + name},
		{"gatewayTimeout=500ms", `headroom:gatewayTimeout is "500ms"; must be a duration in whole seconds from 1s to 1h0m0s`},
		{"networkPolicyEgress=deny", `headroom:networkPolicyEgress is "deny"; must be true or false`},
		{"apiServerPorts=[]", `headroom:apiServerPorts is "0 ports"; must be 1 to 10 of them`},
		{"apiServerPorts=[443,70000]", `headroom:apiServerPorts[1] is "70000"; must be a whole number from 1 to 65535`},
		{`apiServerPorts=["https"]`, `headroom:apiServerPorts is "[\"https\"]"; must be a list of whole numbers: found a JSON string`},
		{`clientNamespaces=["shop"]`, `headroom:clientNamespaces is "1 namespaces"; must be empty with headroom:serviceType NodePort, whose clients are outside the cluster`},
	} {
		refused(t, test.message, test.setting)
	}
	refused(t, `headroom:gatewayName is ""; must be set with headroom:exposure gateway`, "exposure=gateway", "exposureHost=a.example")
	refused(t, `headroom:ingressTlsSecret is "a"; must be empty with headroom:exposureTls false`, "exposureTls=false", "ingressTlsSecret=a")
	refused(t, `headroom:clientNamespaces[1] is "Shop"; must be a namespace's name`, "serviceType=ClusterIP", `clientNamespaces=["shop","Shop"]`)
	refused(t, `headroom:clientNamespaces is "1 namespaces"; must be empty`+closesNothing, "serviceType=ClusterIP", `clientNamespaces=["shop"]`, "networkPolicies=false")
	refused(t, `headroom:networkPolicyEgress is "true"; must be false`+closesNothing, "networkPolicyEgress=true", "networkPolicies=false")
}
