package workload

import (
	"strconv"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Tracing says where a program sends its spans.
type Tracing struct {
	Endpoint      string // base URL of an OpenTelemetry collector; empty: nowhere
	HeadersSecret string // Secret whose key headers goes along; empty: nothing
	SampleRatio   float64
}

// Flags are the program's flags.
func (t Tracing) Flags() []string {
	if t.Endpoint == "" {
		return nil
	}
	return []string{"--otlp-endpoint", t.Endpoint, "--trace-sample-ratio", strconv.FormatFloat(t.SampleRatio, 'g', -1, 64)}
}

// Env is what the exporter of OpenTelemetry reads beside them.
func (t Tracing) Env() corev1.EnvVarArray {
	if t.HeadersSecret == "" {
		return nil
	}
	return corev1.EnvVarArray{corev1.EnvVarArgs{
		Name: pulumi.String("OTEL_EXPORTER_OTLP_HEADERS"),
		ValueFrom: corev1.EnvVarSourceArgs{SecretKeyRef: corev1.SecretKeySelectorArgs{
			Name: pulumi.String(t.HeadersSecret), Key: pulumi.String("headers"),
		}},
	}}
}
