package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"

	"headroom.dev/hack/localcluster/internal/pki"
)

func (c *Cluster) cert(name string) string { return c.path("pki", name+".crt") }
func (c *Cluster) key(name string) string  { return c.path("pki", name+".key") }

// users are those who hold a kubeconfig, by its file's name: the certificate
// that each shows.
var users = map[string]string{
	"kubeconfig":                         "admin",
	"kube-controller-manager.kubeconfig": "kube-controller-manager",
	"kube-scheduler.kubeconfig":          "kube-scheduler",
	"kubelet.kubeconfig":                 "kubelet",
	"kube-proxy.kubeconfig":              "kube-proxy",
	"coredns.kubeconfig":                 "coredns",
}

const (
	dnsUser           = "headroom:dns"
	kubeletClientUser = "headroom:kubelet-client"
)

// authorities are the cluster's certificates. The users are the ones that
// Kubernetes' own roles are bound to, where there is one.
func authorities() []pki.Authority {
	return []pki.Authority{
		{Name: "ca", Leaves: []pki.Leaf{
			{Name: "admin", User: "headroom:admin", Groups: []string{"system:masters"}},
			{Name: "kube-apiserver", User: "kube-apiserver", Hosts: []string{
				"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + domain, "localhost",
				loopback, gateway, apiVIP,
			}},
			{Name: "kubelet-client", User: kubeletClientUser},
			{Name: "kube-controller-manager", User: "system:kube-controller-manager", Hosts: []string{loopback}},
			{Name: "kube-scheduler", User: "system:kube-scheduler", Hosts: []string{loopback}},
			{Name: "kubelet", User: "system:node:" + nodeName, Groups: []string{"system:nodes"}, Hosts: []string{nodeName, gateway}},
			{Name: "kube-proxy", User: "system:kube-proxy"},
			{Name: "coredns", User: dnsUser},
		}},
		{Name: "front-proxy-ca", Leaves: []pki.Leaf{{Name: "front-proxy-client", User: "front-proxy-client"}}},
		{Name: "etcd-ca", Leaves: []pki.Leaf{
			{Name: "etcd", User: "etcd", Hosts: []string{"localhost", loopback}},
			{Name: "etcd-client", User: "etcd-client"},
		}},
	}
}

// object is a JSON object, and JSON is YAML: what Kubernetes reads needs no
// other format.
type object = map[string]any

// writeConfig writes the certificates and every file that a component reads,
// and reports whether certificates changed.
func (c *Cluster) writeConfig() (renewed bool, err error) {
	renewed, err = pki.Ensure(c.path("pki"), c.clock(), authorities())
	if err != nil {
		return renewed, err
	}
	if err := pki.EnsureKey(c.path("pki"), "service-account"); err != nil {
		return renewed, err
	}
	files := map[string][]byte{
		"containerd.toml":               c.containerdConfig(),
		"Corefile":                      c.corefile(),
		"kubelet.json":                  encode(c.kubeletConfig()),
		"kube-proxy.json":               encode(c.proxyConfig()),
		"cni/conf/10-headroom.conflist": encode(c.cniConfig()),
	}
	for name, user := range users {
		if files[name], err = c.kubeconfig(user); err != nil {
			return renewed, err
		}
	}
	for name, content := range files {
		if err := replace(c.path(name), content); err != nil {
			return renewed, err
		}
	}
	return renewed, os.MkdirAll(c.path("logs"), 0o700)
}

// replace gives the file this content in one step, or leaves it if it has it.
func replace(path string, content []byte) error {
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	partial := path + ".partial"
	if err := os.WriteFile(partial, content, 0o600); err != nil {
		return err
	}
	return os.Rename(partial, path)
}

func encode(value object) []byte {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("a constant configuration can't be encoded: %v", err))
	}
	return append(text, '\n')
}

// kubeconfig is one that holds the user's certificate itself, so that a copy of
// the file works.
func (c *Cluster) kubeconfig(user string) ([]byte, error) {
	files := map[string][]byte{}
	for _, path := range []string{c.cert("ca"), c.cert(user), c.key(user)} {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files[path] = content
	}
	return encode(object{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []object{{"name": Context, "cluster": object{
			"server":                     endpoint("https", loopback, apiServerPort),
			"certificate-authority-data": files[c.cert("ca")],
		}}},
		"users": []object{{"name": Context, "user": object{
			"client-certificate-data": files[c.cert(user)],
			"client-key-data":         files[c.key(user)],
		}}},
		"contexts":        []object{{"name": Context, "context": object{"cluster": Context, "user": Context}}},
		"current-context": Context,
	}), nil
}

func (c *Cluster) kubeletConfig() object {
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		"address":    gateway, "port": kubeletPort, "readOnlyPort": 0,
		"healthzBindAddress": loopback, "healthzPort": kubeletHealthPort,
		"tlsCertFile": c.cert("kubelet"), "tlsPrivateKeyFile": c.key("kubelet"),
		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true},
			"x509":      object{"clientCAFile": c.cert("ca")},
		},
		"authorization":            object{"mode": "Webhook"},
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               cgroup, // a root of its own tells our pods' cgroups from others'
		"failCgroupV1":             false,
		"failSwapOn":               false,
		"cpuCFSQuota":              true,
		"clusterDNS":               []string{gateway}, "clusterDomain": domain,
		"resolvConf":             "", // nothing but cluster DNS is resolved, so the machine's resolver is not handed in
		"podLogsDir":             c.path("pod-logs"),
		"volumePluginDir":        c.path("kubelet", "volume-plugins"),
		"maxPods":                110,
		"serializeImagePulls":    false,
		"enableProfilingHandler": false,
		"evictionHard":           object{"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
		"containerLogMaxSize":    "10Mi",
		"containerLogMaxFiles":   2,
		// Images come from load, and one that is collected could not be pulled
		// again.
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
	}
}

func (c *Cluster) proxyConfig() object {
	return object{
		"apiVersion":         "kubeproxy.config.k8s.io/v1alpha1",
		"kind":               "KubeProxyConfiguration",
		"clientConnection":   object{"kubeconfig": c.path("kube-proxy.kubeconfig")},
		"mode":               "iptables",
		"clusterCIDR":        podRange,
		"hostnameOverride":   nodeName,
		"healthzBindAddress": fmt.Sprintf("%s:%d", loopback, proxyHealthPort),
		"metricsBindAddress": fmt.Sprintf("%s:%d", loopback, proxyMetricsPort),
		"nodePortAddresses":  []string{"127.0.0.0/8"}, // not to the machine's networks
		// Zero leaves the machine's connection tracking settings as they are.
		"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
}

func (c *Cluster) cniConfig() object {
	return object{
		"cniVersion": "0.4.0",
		"name":       network,
		"plugins": []object{{
			"type": "bridge", "bridge": bridge, "isGateway": true, "hairpinMode": true,
			// Masquerading is one rule of our own rather than a chain a pod,
			// which a killed run would leave behind.
			"ipMasq": false,
			"ipam": object{
				"type":    "host-local",
				"dataDir": c.path("cni", "addresses"),
				"ranges":  [][]object{{{"subnet": podRange, "gateway": gateway}}},
				"routes":  []object{{"dst": "0.0.0.0/0"}},
			},
		}},
	}
}

const containerdSocket = runDir + "/containerd.sock"

var containerdTemplate = template.Must(template.New("containerd.toml").Parse(`version = 2
root = "{{.State}}/containerd"
state = "{{.Run}}/containerd"
disabled_plugins = ["io.containerd.internal.v1.restart", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
  address = "{{.Socket}}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{{.State}}/containerd-opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.Pause}}"
  # Network namespaces lie in our directory, so that the ones a killed run left
  # are known to be ours.
  netns_mounts_under_state_dir = true
  # Without it every sandbox fails where root may not lower oom_score_adj, as in
  # many containers and virtual machines.
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{{.CNI}}"
    conf_dir = "{{.State}}/cni/conf"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{{.Run}}/runc"
        SystemdCgroup = false
`))

func (c *Cluster) containerdConfig() []byte {
	dir, _ := cniDir()
	return render(containerdTemplate, map[string]string{
		"State": c.state, "Run": runDir, "Socket": containerdSocket, "Pause": pause, "CNI": dir,
	})
}

var corefileTemplate = template.Must(template.New("Corefile").Parse(`.:{{.Port}} {
    bind {{.Gateway}}
    errors
    ready {{.Ready}}
    kubernetes {{.Domain}} in-addr.arpa ip6.arpa {
        kubeconfig {{.Kubeconfig}}
        ttl 5
    }
    cache 5
    loadbalance
}
`))

func (c *Cluster) corefile() []byte {
	return render(corefileTemplate, map[string]any{
		"Port": dnsPort, "Gateway": gateway, "Domain": domain,
		"Ready":      fmt.Sprintf("%s:%d", loopback, dnsReadyPort),
		"Kubeconfig": c.path("coredns.kubeconfig"),
	})
}

func render(t *template.Template, values any) []byte {
	var out bytes.Buffer
	if err := t.Execute(&out, values); err != nil {
		panic(fmt.Sprintf("a constant template can't be filled in: %v", err))
	}
	return out.Bytes()
}

// access is what the API server has to allow the users that its own roles don't
// know, as paths and objects to apply.
func access() map[string]object {
	const group = "/apis/rbac.authorization.k8s.io/v1/"
	bind := func(name, role, user string) object {
		return object{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
			"metadata": object{"name": name},
			"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
			"subjects": []object{{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}},
		}
	}
	return map[string]object{
		group + "clusterroles/headroom:dns": {
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
			"metadata": object{"name": "headroom:dns"},
			"rules": []object{
				{"apiGroups": []string{""}, "resources": []string{"services", "namespaces"}, "verbs": []string{"list", "watch"}},
				{"apiGroups": []string{"discovery.k8s.io"}, "resources": []string{"endpointslices"}, "verbs": []string{"list", "watch"}},
			},
		},
		group + "clusterrolebindings/headroom:dns":            bind("headroom:dns", "headroom:dns", dnsUser),
		group + "clusterrolebindings/headroom:kubelet-client": bind("headroom:kubelet-client", "system:kubelet-api-admin", kubeletClientUser),
	}
}
