package cluster

import (
	"bytes"
	"fmt"
	"os/exec"

	"headroom.dev/hack/localcluster/internal/host"
)

const (
	bridgeFilter = "net.bridge.bridge-nf-call-iptables"
	// bridgeMAC is fixed, or the bridge would take that of the pod with the
	// lowest one, and every pod would lose its gateway when that pod ends.
	bridgeMAC = "0a:58:0a:f4:00:01"
)

// kernelSettings are those that this tool, kubelet and kube-proxy change. They
// are put back when the cluster is taken down.
var kernelSettings = []string{
	"net.ipv4.ip_forward", "net.ipv4.conf.all.route_localnet", bridgeFilter,
	"vm.overcommit_memory", "vm.panic_on_oom", "kernel.panic", "kernel.panic_on_oops",
	"kernel.keys.root_maxkeys", "kernel.keys.root_maxbytes",
}

// loadBridgeFilter makes the kernel filter what stays on the bridge: without it
// the answer of a pod behind a service goes straight to the asking pod, which
// does not know the sender.
func loadBridgeFilter() error {
	if _, err := host.ReadSysctl(bridgeFilter); err == nil {
		return nil
	}
	out, err := exec.Command("modprobe", "br_netfilter").CombinedOutput()
	if err != nil {
		return fmt.Errorf("the kernel lacks br_netfilter, which services need: modprobe: %w: %s", err, bytes.TrimSpace(out))
	}
	_, err = host.ReadSysctl(bridgeFilter)
	return err
}

// packetFilter are our own packet filter rules.
//
// The API server listens on all addresses but answers only this machine and its
// pods. What pods need of the node, and their traffic to the outside, pass also
// where the machine's own firewall drops what it does not know. FORWARD is
// appended to, so that kube-proxy's refusals come first.
var packetFilter = fmt.Sprintf(`*filter
:HEADROOM-INPUT - [0:0]
:HEADROOM-FORWARD - [0:0]
-A HEADROOM-INPUT -i %[1]s -p tcp -m multiport --dports %[3]d,%[4]d,%[5]d -j ACCEPT
-A HEADROOM-INPUT -i %[1]s -p udp -m udp --dport %[3]d -j ACCEPT
-A HEADROOM-INPUT ! -i lo -p tcp -m tcp --dport %[5]d -j DROP
-A HEADROOM-FORWARD -i %[1]s -j ACCEPT
-A HEADROOM-FORWARD -o %[1]s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-I INPUT 1 -j HEADROOM-INPUT
-A FORWARD -j HEADROOM-FORWARD
COMMIT
*nat
:HEADROOM-POSTROUTING - [0:0]
-A HEADROOM-POSTROUTING -s %[2]s ! -d %[2]s -j MASQUERADE
-A POSTROUTING -j HEADROOM-POSTROUTING
COMMIT
`, bridge, podRange, dnsPort, kubeletPort, apiServerPort)

// setUpNetwork makes the bridge, the routes and the packet filter rules, over
// whatever is there of them.
func setUpNetwork() error {
	for _, name := range []string{"net.ipv4.ip_forward", bridgeFilter} {
		if err := host.WriteSysctl(name, "1"); err != nil {
			return err
		}
	}
	if !host.LinkExists(bridge) {
		if err := host.IP("link", "add", bridge, "address", bridgeMAC, "type", "bridge"); err != nil {
			return err
		}
	}
	for _, step := range [][]string{
		{"address", "replace", gateway + "/16", "dev", bridge},
		{"link", "set", bridge, "up"},
		// A service's address that no rule catches must not leave the machine,
		// and has to be reachable on one without a default route.
		{"route", "replace", services, "dev", bridge, "src", gateway},
	} {
		if err := host.IP(step...); err != nil {
			return err
		}
	}
	if err := host.RemoveChains("HEADROOM-"); err != nil {
		return err
	}
	return host.AddChains(packetFilter)
}
