package stack

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/config"
	"headroom.dev/infra/internal/dispatcher"
	"headroom.dev/infra/internal/exposure"
	"headroom.dev/infra/internal/workload"
)

// service says how a Service that people use is reached; with an Ingress or a
// Gateway none is open to the outside.
func service(cfg config.Config, nodePort int) workload.Exposure {
	if cfg.Exposure.Outside() {
		return workload.Internal()
	}
	return workload.Exposure{Type: cfg.ServiceType, NodePort: nodePort, Address: cfg.NodeAddress}
}

// newExposure leads clients to the dispatcher, and returns the URL that they
// use: that of the Service unless there is an Ingress or a Gateway.
func newExposure(ctx *pulumi.Context, cfg config.Config, namespace workload.Namespace, ofService pulumi.StringOutput, opts ...pulumi.ResourceOption) (pulumi.StringOutput, error) {
	e := cfg.Exposure
	if !e.Outside() {
		return ofService, nil
	}
	args := exposure.Args{Namespace: namespace, Service: dispatcher.Name, Port: dispatcher.Port, Host: e.Host, TLS: e.TLS}
	if e.Kind == config.ExposureGateway {
		args.Gateway = &exposure.Gateway{Name: e.GatewayName, Namespace: e.GatewayNamespace, Listener: e.GatewayListener, Timeout: e.GatewayTimeout}
	} else {
		args.Ingress = &exposure.Ingress{Class: e.IngressClass, TLSSecret: e.IngressTLSSecret, Annotations: e.IngressAnnotations}
	}
	way, err := exposure.New(ctx, args, opts...)
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	return pulumi.String(way.URL).ToStringOutput(), nil
}
