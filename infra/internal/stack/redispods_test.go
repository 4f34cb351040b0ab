package stack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	randv2 "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const statefulSets = "apps/v1:StatefulSet"

// redisPods runs the pods of Redis as processes of this machine: the commands,
// variables, Secrets and scripts are the pods' own. Each pod has a loopback
// address in place of its name.
type redisPods struct {
	t               *testing.T
	b               built
	folder, network string
	names           *strings.Replacer // from names of pods to addresses
	ports           map[string]string // from ports of pods to free ones
	running         map[string]*redisPod
}

type redisPod struct {
	pods       *redisPods
	name       string
	container  object
	folder     string // what is mounted
	address    string
	process    *exec.Cmd
	ended      chan struct{}
	translated *strings.Replacer
}

func newRedisPods(t *testing.T, b built) *redisPods {
	t.Helper()
	for _, name := range []string{"redis-server", "redis-cli", "timeout"} {
		tool(t, name)
	}
	p := &redisPods{
		t: t, b: b, folder: t.TempDir(), running: map[string]*redisPod{},
		network: fmt.Sprintf("127.%d.%d.", 1+randv2.IntN(254), randv2.IntN(256)),
		ports:   map[string]string{"6379": freePort(t), "26379": freePort(t)},
	}
	var names []string
	for _, set := range []string{"redis-node", "redis-sentinel"} {
		for i := range 3 {
			name := fmt.Sprintf("%s-%d", set, i)
			names = append(names, name+"."+set+".headroom.svc.cluster.local", p.address(name))
		}
	}
	p.names = strings.NewReplacer(names...)
	t.Cleanup(func() {
		for _, pod := range p.running {
			pod.end(syscall.SIGKILL)
			if t.Failed() {
				t.Logf("%s:\n%s", pod.name, pod.log())
			}
		}
	})
	return p
}

// address is that of a pod, such as redis-sentinel-2.
func (p *redisPods) address(name string) string {
	last := map[string]int{"redis": 1, "redis-node": 10, "redis-sentinel": 20}[setOf(name)]
	ordinal, _ := strconv.Atoi(name[len(name)-1:]) // redis has none
	return p.network + strconv.Itoa(last+ordinal)
}

// setOf is the component that a pod belongs to.
func setOf(name string) string { return strings.TrimRight(name, "-012") }

// pod is one that doesn't run yet, with the volumes that it had when it ran last.
func (p *redisPods) pod(name string) *redisPod {
	p.t.Helper()
	pod := &redisPod{pods: p, name: name, folder: filepath.Join(p.folder, name), address: p.address(name)}
	if name == "redis" {
		pod.container = p.b.one(p.t, deployments, name).containers()[0]
	} else {
		pod.container = p.b.one(p.t, statefulSets, setOf(name)).containers()[0]
	}
	var paths []string
	for _, mount := range objects(pod.container["volumeMounts"]) {
		path := mount["mountPath"].(string)
		here := filepath.Join(pod.folder, mount["name"].(string))
		require.NoError(p.t, os.MkdirAll(here, 0o700))
		paths = append(paths, path, here)
	}
	pod.translated = strings.NewReplacer(paths...)

	pod.fill("secret", p.b.one(p.t, secrets, "redis").body["data"].(object), func(v any) string { return decoded(p.t, v) })
	if name != "redis" {
		pod.fill("scripts", p.b.one(p.t, configMaps, "redis").body["data"].(object), func(v any) string { return v.(string) })
	}
	return pod
}

func (pod *redisPod) fill(volume string, data object, content func(any) string) {
	for key, value := range data {
		require.NoError(pod.pods.t, os.WriteFile(filepath.Join(pod.folder, volume, key), []byte(content(value)), 0o600))
	}
}

// here turns what is written for the cluster into what it is on this machine.
func (pod *redisPod) here(text string) string {
	if port, ok := pod.pods.ports[text]; ok {
		return port
	}
	return pod.translated.Replace(pod.pods.names.Replace(text))
}

func (pod *redisPod) env() []string {
	env := os.Environ()
	values := map[string]string{}
	for _, v := range objects(pod.container["env"]) {
		name := v["name"].(string)
		switch key, secret := at(v, "valueFrom", "secretKeyRef", "key").(string); {
		case secret:
			values[name] = decoded(pod.pods.t, at(pod.pods.b.one(pod.pods.t, secrets, "redis").body, "data", key))
		case at(v, "valueFrom", "fieldRef", "fieldPath") == "metadata.name":
			values[name] = pod.name
		default:
			values[name] = pod.here(strings.ReplaceAll(v["value"].(string), "$(POD)", values["POD"]))
		}
	}
	values["LOCAL"] = pod.address
	for name, value := range values {
		env = append(env, name+"="+value)
	}
	return env
}

func (pod *redisPod) command(parts []string) *exec.Cmd {
	command := make([]string, len(parts))
	for i, part := range parts {
		command[i] = pod.here(part)
	}
	if command[0] == "redis-cli" { // what is named later wins
		command = append([]string{"redis-cli", "-h", pod.address, "-p", pod.pods.ports["6379"]}, command[1:]...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = pod.env()
	return cmd
}

// start starts a pod's container.
func (p *redisPods) start(name string) *redisPod {
	p.t.Helper()
	return p.pod(name).start()
}

func (pod *redisPod) start() *redisPod {
	pod.pods.t.Helper()
	parts := append(texts(pod.container["command"]), texts(pod.container["args"])...)
	parts = append(parts, "--bind", pod.address)
	if !slices.Contains(parts, "--port") {
		parts = append(parts, "--port", "6379")
	}
	pod.process = pod.command(parts)
	log, err := os.OpenFile(pod.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(pod.pods.t, err)
	defer func() { require.NoError(pod.pods.t, log.Close()) }()
	pod.process.Stdout, pod.process.Stderr = log, log
	// The script's own children go with it.
	pod.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(pod.pods.t, pod.process.Start())
	pod.ended = make(chan struct{})
	go func() {
		_ = pod.process.Wait()
		close(pod.ended)
	}()
	pod.pods.running[pod.name] = pod
	return pod
}

func (pod *redisPod) logFile() string { return filepath.Join(pod.pods.folder, pod.name+".log") }

// log is what the pods of that name have said.
func (pod *redisPod) log() string {
	content, err := os.ReadFile(pod.logFile())
	require.NoError(pod.pods.t, err)
	return string(content)
}

// end sends a signal and waits for the end. SIGKILL is for all processes of the
// container, another for the first.
func (pod *redisPod) end(signal syscall.Signal) {
	if signal == syscall.SIGKILL {
		_ = syscall.Kill(-pod.process.Process.Pid, signal)
	} else {
		_ = pod.process.Process.Signal(signal)
	}
	select {
	case <-pod.ended:
	case <-time.After(30 * time.Second):
		pod.pods.t.Errorf("%s does not end", pod.name)
	}
}

// lose ends a pod at once, its volumes included.
func (pod *redisPod) lose() {
	pod.end(syscall.SIGKILL)
	require.NoError(pod.pods.t, os.RemoveAll(pod.folder))
}

// ready runs the pod's readiness probe.
func (pod *redisPod) ready() bool {
	return pod.command(texts(at(pod.container, "readinessProbe", "exec", "command"))).Run() == nil
}

// stop does what Kubernetes does when a pod is to go.
func (pod *redisPod) stop() {
	pod.pods.t.Helper()
	out, err := pod.command(texts(at(pod.container, "lifecycle", "preStop", "exec", "command"))).CombinedOutput()
	require.NoError(pod.pods.t, err, "%s", out)
	pod.end(syscall.SIGTERM)
}

// ask runs a command with redis-cli as the pod's probes do.
func (pod *redisPod) ask(command ...string) (string, error) {
	probe := texts(at(pod.container, "livenessProbe", "exec", "command"))
	out, err := pod.command(slices.Concat(probe[:len(probe)-1], []string{"-e"}, command)).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// awaitReady waits for the pods' readiness probes.
func (p *redisPods) awaitReady(names ...string) {
	p.t.Helper()
	for _, name := range names {
		p.eventually(name+" is ready", p.running[name].ready)
	}
}

func (p *redisPods) eventually(what string, holds func() bool) {
	p.t.Helper()
	begin := time.Now()
	for !holds() {
		require.Less(p.t, time.Since(begin), 60*time.Second, "not in time: %s", what)
		time.Sleep(100 * time.Millisecond)
	}
}

// master is the node that two sentinels name, or "".
func (p *redisPods) master() string {
	votes := map[string]int{}
	for name, pod := range p.running {
		if setOf(name) != "redis-sentinel" {
			continue
		}
		if out, err := pod.ask("sentinel", "get-master-addr-by-name", "headroom"); err == nil {
			votes[strings.Split(out, "\n")[0]]++
		}
	}
	for i := range 3 {
		if name := fmt.Sprintf("redis-node-%d", i); votes[p.address(name)] >= 2 {
			return name
		}
	}
	return ""
}

// certificates puts an authority's and a server's certificate for the names
// into the folder, as a TLS Secret has them, and returns the authority.
func certificates(t *testing.T, folder string, names ...string) *x509.CertPool {
	t.Helper()
	sign := func(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
		template.SerialNumber = big.NewInt(randv2.Int64())
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
		require.NoError(t, err)
		return der
	}
	write := func(name, kind string, der []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		return key
	}
	authorityKey, serverKey := newKey(), newKey()
	authority := &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	authorityDER := sign(authority, authority, authorityKey, authorityKey)
	write("ca.crt", "CERTIFICATE", authorityDER)
	server := &x509.Certificate{
		Subject: pkix.Name{CommonName: "redis"}, KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	write("tls.crt", "CERTIFICATE", sign(server, authority, serverKey, authorityKey))
	keyDER, err := x509.MarshalPKCS8PrivateKey(serverKey)
	require.NoError(t, err)
	write("tls.key", "PRIVATE KEY", keyDER)

	trusted, err := x509.ParseCertificate(authorityDER)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(trusted)
	return pool
}
