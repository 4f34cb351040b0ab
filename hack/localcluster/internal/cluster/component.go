package cluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"headroom.dev/hack/localcluster/internal/host"
)

// component is one of the cluster's programs.
type component struct {
	name      string
	binary    string
	arguments []string
	listens   []use
	healthy   func(context.Context) error
}

// use is a port that a component listens on.
type use struct {
	network string
	address netip.AddrPort
}

func tcp(address string, port uint16) use {
	return use{network: "tcp", address: netip.AddrPortFrom(netip.MustParseAddr(address), port)}
}

func endpoint(scheme, address string, port int) string {
	return scheme + "://" + net.JoinHostPort(address, strconv.Itoa(port))
}

// components are in the order in which they start.
func (c *Cluster) components() []component {
	built := func(name string) string { return filepath.Join(c.binaries, name) }
	client := c.clients()
	return []component{
		{
			name: "containerd", binary: "containerd",
			arguments: []string{"--config", c.path("containerd.toml")},
			healthy:   dialContainerd,
		},
		{
			name: "etcd", binary: "etcd",
			arguments: []string{
				"--name=" + nodeName,
				"--data-dir=" + c.path("etcd"),
				"--listen-client-urls=" + endpoint("https", loopback, etcdPort),
				"--advertise-client-urls=" + endpoint("https", loopback, etcdPort),
				"--listen-peer-urls=" + endpoint("https", loopback, etcdPeerPort),
				"--initial-advertise-peer-urls=" + endpoint("https", loopback, etcdPeerPort),
				"--initial-cluster=" + nodeName + "=" + endpoint("https", loopback, etcdPeerPort),
				// Whoever may talk to etcd owns the cluster and with it the
				// machine: only holders of its certificates may.
				"--client-cert-auth", "--trusted-ca-file=" + c.cert("etcd-ca"),
				"--cert-file=" + c.cert("etcd"), "--key-file=" + c.key("etcd"),
				"--peer-client-cert-auth", "--peer-trusted-ca-file=" + c.cert("etcd-ca"),
				"--peer-cert-file=" + c.cert("etcd"), "--peer-key-file=" + c.key("etcd"),
				// A power cut may cost this cluster its data; waiting for the
				// disk would cost every start and every write.
				"--unsafe-no-fsync",
				"--logger=zap", "--log-level=warn",
			},
			listens: []use{tcp(loopback, etcdPort), tcp(loopback, etcdPeerPort)},
			healthy: client.etcd.ok(endpoint("https", loopback, etcdPort) + "/health"),
		},
		{
			name: "kube-apiserver", binary: built("kube-apiserver"),
			arguments: []string{
				"--etcd-servers=" + endpoint("https", loopback, etcdPort),
				"--etcd-cafile=" + c.cert("etcd-ca"), "--etcd-certfile=" + c.cert("etcd-client"), "--etcd-keyfile=" + c.key("etcd-client"),
				// It has to be at 127.0.0.1 for people and at the bridge for
				// pods; HEADROOM-INPUT keeps the machine's other networks out.
				"--bind-address=0.0.0.0", "--secure-port=" + strconv.Itoa(apiServerPort), "--advertise-address=" + gateway,
				"--tls-cert-file=" + c.cert("kube-apiserver"), "--tls-private-key-file=" + c.key("kube-apiserver"), "--client-ca-file=" + c.cert("ca"),
				"--service-account-key-file=" + c.path("pki", "service-account.pub"), "--service-account-signing-key-file=" + c.key("service-account"), "--service-account-issuer=" + issuer,
				"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
				"--service-cluster-ip-range=" + services,
				"--kubelet-certificate-authority=" + c.cert("ca"), "--kubelet-client-certificate=" + c.cert("kubelet-client"), "--kubelet-client-key=" + c.key("kubelet-client"),
				// The node's name is in no DNS: logs and exec go to its address.
				"--kubelet-preferred-address-types=InternalIP",
				// What the aggregated API of metrics-server needs.
				"--requestheader-client-ca-file=" + c.cert("front-proxy-ca"), "--requestheader-allowed-names=front-proxy-client",
				"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
				"--proxy-client-cert-file=" + c.cert("front-proxy-client"), "--proxy-client-key-file=" + c.key("front-proxy-client"),
				"--enable-aggregator-routing=true",
				"--profiling=false",
			},
			listens: []use{tcp("0.0.0.0", apiServerPort)},
			healthy: client.api.ok(endpoint("https", loopback, apiServerPort) + "/readyz"),
		},
		{
			name: "kube-controller-manager", binary: built("kube-controller-manager"),
			arguments: append(c.controlPlane("kube-controller-manager", controllerManagerPort),
				"--service-account-private-key-file="+c.key("service-account"), "--root-ca-file="+c.cert("ca"),
				"--use-service-account-credentials", "--cluster-cidr="+podRange, "--allocate-node-cidrs=false",
			),
			listens: []use{tcp(loopback, controllerManagerPort)},
			healthy: client.api.ok(endpoint("https", loopback, controllerManagerPort) + "/healthz"),
		},
		{
			name: "kube-scheduler", binary: built("kube-scheduler"),
			arguments: c.controlPlane("kube-scheduler", schedulerPort),
			listens:   []use{tcp(loopback, schedulerPort)},
			healthy:   client.api.ok(endpoint("https", loopback, schedulerPort) + "/healthz"),
		},
		{
			name: "kubelet", binary: built("kubelet"),
			arguments: []string{
				"--config=" + c.path("kubelet.json"), "--kubeconfig=" + c.path("kubelet.kubeconfig"),
				"--hostname-override=" + nodeName, "--node-ip=" + gateway,
				"--root-dir=" + c.path("kubelet"), "--cert-dir=" + c.path("kubelet", "pki"),
			},
			listens: []use{tcp(gateway, kubeletPort), tcp(loopback, kubeletHealthPort)},
			healthy: client.api.ok(endpoint("http", loopback, kubeletHealthPort) + "/healthz"),
		},
		{
			name: "kube-proxy", binary: built("kube-proxy"),
			arguments: []string{"--config=" + c.path("kube-proxy.json")},
			listens:   []use{tcp(loopback, proxyHealthPort), tcp(loopback, proxyMetricsPort)},
			healthy:   client.api.ok(endpoint("http", loopback, proxyHealthPort) + "/healthz"),
		},
		{
			// DNS is a process of the node rather than a pod: a pod would need
			// an image, and there is no registry to pull CoreDNS's from.
			name: "coredns", binary: built("coredns"),
			arguments: []string{"-conf", c.path("Corefile")},
			listens: []use{
				tcp(gateway, dnsPort), {network: "udp", address: netip.AddrPortFrom(netip.MustParseAddr(gateway), dnsPort)},
				tcp(loopback, dnsReadyPort),
			},
			healthy: client.api.ok(endpoint("http", loopback, dnsReadyPort) + "/ready"),
		},
	}
}

// controlPlane are the arguments that the controller manager and the scheduler
// share.
func (c *Cluster) controlPlane(name string, port int) []string {
	kubeconfig := c.path(name + ".kubeconfig")
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=" + loopback, "--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + c.cert(name), "--tls-private-key-file=" + c.key(name),
		"--leader-elect=false", "--profiling=false",
	}
}

// log is the path of a component's log.
func (c *Cluster) log(name string) string { return c.path("logs", name+".log") }

// start starts a component in a session of its own, so that it outlives this
// process and its terminal. The channel gets the reason if it ends while this
// process still runs.
func (c *Cluster) start(p component) (ended <-chan error, err error) {
	log := c.log(p.name)
	if err := os.Rename(log, log+".1"); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("rotate the log of %s: %w", p.name, err)
	}
	output, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", p.name, err)
	}
	defer func() { _ = output.Close() }()
	command := exec.Command(p.binary, p.arguments...)
	command.Dir = c.state
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// Nothing of the caller's environment: a proxy set there would catch the
	// components' calls to each other.
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + c.state,
		host.MarkVariable + "=" + c.state + ":" + p.name,
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	died := make(chan error, 1)
	go func() {
		err := command.Wait()
		if err == nil {
			err = fmt.Errorf("%s ended by itself", p.name)
		}
		died <- err
	}()
	return died, nil
}

// running are the processes of the components, without what they started
// themselves, by component.
func running(components []component, members []host.Process) map[string][]host.Process {
	found := map[string][]host.Process{}
	for _, p := range components {
		for _, member := range members {
			if member.Component == p.name && member.Executable == filepath.Base(p.binary) {
				found[p.name] = append(found[p.name], member)
			}
		}
	}
	return found
}
