package config

import (
	"net/url"
	"strconv"
	"strings"
)

// Tracing says where dispatcher and model servers send their spans.
type Tracing struct {
	Endpoint      string  // base URL of an OpenTelemetry collector, OTLP over HTTP; empty: there is no tracing
	HeadersSecret string  // Secret whose key headers holds what the collector asks for, as name=value,name=value; empty: nothing
	SampleRatio   float64 // share of the requests without a trace of their own that are traced, 0 to 1
}

func (r *reader) tracing() Tracing {
	return Tracing{
		Endpoint:      r.text("otlpEndpoint", ""),
		HeadersSecret: r.text("otlpHeadersSecret", ""),
		SampleRatio:   r.number("traceSampleRatio", 1),
	}
}

// dispatcher checks who may call, and what is told of the calls.
func (v *validator) dispatcher(c Config) {
	v.rule(c.APIKeysSecret == "" || isObjectName(c.APIKeysSecret), "apiKeysSecret", c.APIKeysSecret, secretName)

	t := c.Tracing
	if strings.Contains(t.Endpoint, "@") {
		v.statement(false, "otlpEndpoint", "has a user in it", "credentials belong into the Secret that headroom:otlpHeadersSecret names")
	}
	u, err := url.Parse(t.Endpoint)
	v.rule(t.Endpoint == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && !strings.ContainsAny(t.Endpoint, "?#"),
		"otlpEndpoint", t.Endpoint, "must be like http://collector.observability.svc:4318, or the same with https")
	v.rule(t.HeadersSecret == "" || isObjectName(t.HeadersSecret), "otlpHeadersSecret", t.HeadersSecret, secretName)
	v.rule(t.HeadersSecret == "" || t.Endpoint != "", "otlpHeadersSecret", t.HeadersSecret, "must be empty while headroom:otlpEndpoint is")
	v.rule(0 <= t.SampleRatio && t.SampleRatio <= 1, "traceSampleRatio", strconv.FormatFloat(t.SampleRatio, 'g', -1, 64),
		"must be a number from 0 to 1")
}
