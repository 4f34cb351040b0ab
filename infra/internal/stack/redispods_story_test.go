package stack

import (
	"crypto/tls"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	allNodes     = []string{"redis-node-0", "redis-node-1", "redis-node-2"}
	allSentinels = []string{"redis-sentinel-0", "redis-sentinel-1", "redis-sentinel-2"}
)

// kept is a value that makes a node not empty.
var kept = strings.Repeat("kept", 200)

// startAll starts every pod at once, as Kubernetes does.
func (p *redisPods) startAll() {
	p.t.Helper()
	for _, name := range append(allNodes, allSentinels...) {
		p.start(name)
	}
	p.awaitReady(allNodes...)
	p.awaitReady(allSentinels...)
}

// put and get are a client that asks the sentinels where to go.
func (p *redisPods) put(key string) {
	p.t.Helper()
	p.eventually("a write of "+key, func() bool {
		master := p.master()
		if master == "" {
			return false
		}
		out, err := p.running[master].ask("set", key, kept)
		return err == nil && out == "OK"
	})
}

func (p *redisPods) mustHave(node, key string) {
	p.t.Helper()
	out, err := p.running[node].ask("get", key)
	require.NoError(p.t, err)
	require.Equal(p.t, kept, out, "%s at %s", key, node)
}

// awaitOtherMaster waits until two sentinels name another master.
func (p *redisPods) awaitOtherMaster(than string) string {
	p.t.Helper()
	p.eventually("another master than "+than, func() bool { m := p.master(); return m != "" && m != than })
	return p.master()
}

// This is one story, for each step needs the one before it.
func TestRedisWithReplicasKeepsItsDataWhateverIsLost(t *testing.T) {
	t.Parallel()
	p := newRedisPods(t, build(t, "redisReplicas=2", "redisStorage=2Gi"))
	p.startAll()
	require.Equal(t, "redis-node-0", p.master())
	p.put("first")
	for _, name := range allNodes {
		p.eventually(name+" has it", func() bool { out, _ := p.running[name].ask("get", "first"); return out == kept })
	}

	t.Log("the master is killed: a replica takes over, and the old master comes back as one")
	p.running["redis-node-0"].end(syscall.SIGKILL)
	master := p.awaitOtherMaster("redis-node-0")
	p.mustHave(master, "first")
	p.put("second")
	p.start("redis-node-0")
	p.awaitReady(allNodes...)
	require.Equal(t, master, p.master())
	p.mustHave("redis-node-0", "second")

	t.Log("the master's volume is lost and it is back at once: it must not have the others forget")
	p.running[master].lose()
	p.start(master)
	emptied := master
	master = p.awaitOtherMaster(emptied)
	p.mustHave(master, "second")
	p.awaitReady(allNodes...)
	p.mustHave(emptied, "second")

	t.Log("the master goes in good order, as in a rollout: nothing is lost that was taken")
	written, ended := make(chan int, 1), make(chan struct{})
	go func() {
		count := 0
		defer func() { written <- count }()
		for {
			select {
			case <-ended:
				return
			default:
			}
			out, err := p.running[master].ask("set", "n"+strconv.Itoa(count), kept)
			if err != nil || out != "OK" {
				return // it is no master any more, or gone
			}
			count++
		}
	}()
	time.Sleep(300 * time.Millisecond)
	before := master
	p.running[before].stop()
	close(ended)
	taken := <-written
	require.Positive(t, taken)
	master = p.master()
	require.NotEqual(t, before, master, "a replica has taken over before the pod ends")
	require.NotEmpty(t, master)
	for n := range taken {
		p.mustHave(master, "n"+strconv.Itoa(n))
	}
	p.start(before)
	p.awaitReady(allNodes...)

	t.Log("a replica that goes asks for no failover")
	for _, name := range allNodes {
		if name != master {
			p.running[name].stop()
			p.start(name)
			break
		}
	}
	p.awaitReady(allNodes...)
	require.Equal(t, master, p.master())

	t.Log("sentinels are lost with what they knew, one and then all: the new ones find the master")
	require.NotEqual(t, "redis-node-0", failAway(p, &master, "redis-node-0"))
	p.running["redis-sentinel-0"].lose()
	p.start("redis-sentinel-0")
	p.awaitReady("redis-sentinel-0")
	require.Equal(t, master, p.master())
	for _, name := range allSentinels {
		p.running[name].lose()
	}
	for _, name := range allSentinels {
		p.start(name)
	}
	p.awaitReady(allSentinels...)
	require.Equal(t, master, p.master())

	t.Log("they are lost together with the master: by the replicas they know who it was, and have one take over")
	killed := master
	for _, name := range append(allSentinels, killed) {
		p.running[name].lose()
	}
	for _, name := range allSentinels {
		p.start(name)
	}
	master = p.awaitOtherMaster(killed)
	p.mustHave(master, "second")
	for _, name := range allSentinels {
		log := p.running[name].log()
		last := log[strings.LastIndex(log, "the master is "):]
		require.Regexp(t, "^the master is "+p.address(killed)+"\n", last, name)
	}

	t.Log("everything ends and comes back, the sentinels without what they knew")
	p.start(killed)
	p.awaitReady(allNodes...)
	for _, name := range append(allNodes, allSentinels...) {
		p.running[name].end(syscall.SIGKILL)
	}
	for _, name := range allSentinels {
		require.NoError(t, os.RemoveAll(p.running[name].folder))
	}
	p.startAll()
	p.mustHave(p.master(), "second")
	p.put("third")
}

// failAway has another node than the given one be the master.
func failAway(p *redisPods, master *string, node string) string {
	p.t.Helper()
	if *master == node {
		p.running[node].stop()
		*master = p.awaitOtherMaster(node)
		p.start(node)
		p.awaitReady(allNodes...)
	}
	return *master
}

// A node that takes itself for a master, and that the sentinels would take for a
// good replica, must not get what it doesn't have.
func TestRedisHandsOverOnlyToAReplicaThatHasTheData(t *testing.T) {
	t.Parallel()
	p := newRedisPods(t, build(t, "redisReplicas=1"))
	names := append([]string{"redis-node-0", "redis-node-1"}, allSentinels...)
	for _, name := range names {
		p.start(name)
	}
	p.awaitReady(names...)
	master := p.master()
	other := map[string]string{"redis-node-0": "redis-node-1", "redis-node-1": "redis-node-0"}[master]
	out, err := p.running[other].ask("replicaof", "no", "one")
	require.NoError(t, err, out)
	require.False(t, p.running[other].ready(), "a rollout waits until there is one master")
	p.put("first")
	p.running[master].stop()
	require.Equal(t, other, p.master())
	p.mustHave(other, "first")
}

// With TLS nothing here speaks anything else.
func TestRedisWithReplicasSpeaksTLSOnly(t *testing.T) {
	t.Parallel()
	p := newRedisPods(t, build(t, "redisReplicas=1", "redisTlsSecret=redis-tls"))
	authority := t.TempDir()
	pool := certificates(t, authority, "*.redis-node.headroom.svc.cluster.local", "*.redis-sentinel.headroom.svc.cluster.local")
	names := append([]string{"redis-node-0", "redis-node-1"}, allSentinels...)
	for _, name := range names {
		pod := p.pod(name)
		require.NoError(t, os.CopyFS(filepath.Join(pod.folder, "tls"), os.DirFS(authority)))
		pod.start()
	}
	p.awaitReady(names...)
	p.put("first")
	p.running["redis-node-0"].end(syscall.SIGKILL)
	require.Equal(t, "redis-node-1", p.awaitOtherMaster("redis-node-0"))
	p.mustHave("redis-node-1", "first")

	for pod, port := range map[string]string{"redis-node-1": "6379", "redis-sentinel-0": "26379"} {
		address := net.JoinHostPort(p.address(pod), p.ports[port])
		// The name that a client knows it by is the certificate's.
		name := pod + "." + setOf(pod) + ".headroom.svc.cluster.local"
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: name})
		require.NoError(t, err, pod)
		require.NoError(t, conn.Close())
		plain, err := net.Dial("tcp", address)
		require.NoError(t, err)
		_, err = plain.Write([]byte("PING\r\n"))
		require.NoError(t, err)
		require.NoError(t, plain.SetDeadline(time.Now().Add(10*time.Second)))
		answer := make([]byte, 64)
		n, _ := plain.Read(answer)
		require.NotContains(t, string(answer[:n]), "-NOAUTH", "%s answers without TLS", pod)
		require.NotContains(t, string(answer[:n]), "PONG", "%s answers without TLS", pod)
		require.NoError(t, plain.Close())
	}
}

// Alone, too; what the URL calls it the certificate can be for.
func TestRedisSpeaksTLSOnly(t *testing.T) {
	t.Parallel()
	b := build(t, "redisTlsSecret=redis-tls")
	p := newRedisPods(t, b)
	args := texts(b.one(t, deployments, "dispatcher").containers()[0]["args"])
	u, err := url.Parse(args[1])
	require.NoError(t, err)
	require.Equal(t, "rediss", u.Scheme)

	pod := p.pod("redis")
	pool := certificates(t, filepath.Join(pod.folder, "tls"), u.Hostname())
	pod.start()
	p.awaitReady("redis")
	address := net.JoinHostPort(p.address("redis"), p.ports["6379"])
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: u.Hostname()})
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	out, err := pod.command([]string{"redis-cli", "-e", "ping"}).CombinedOutput()
	require.Error(t, err, "it answers without TLS: %s", out)
}

// A change of password in three steps, each a rollout of one pod after the
// other: pods of two steps understand each other.
func TestRedisChangesItsPasswordWithoutAGap(t *testing.T) {
	t.Parallel()
	steps := [][]string{
		{"redisPassword=the-old-one"},
		{"redisPassword=the-old-one", "redisSecondPassword=the-new-one"},
		{"redisPassword=the-new-one", "redisSecondPassword=the-old-one"},
		{"redisPassword=the-new-one"},
	}
	p := newRedisPods(t, build(t, append(steps[0], "redisReplicas=1")...))
	rollout := func(names ...string) {
		for _, name := range names {
			if pod := p.running[name]; pod != nil && setOf(name) == "redis-node" {
				pod.stop()
			} else if pod != nil {
				pod.end(syscall.SIGTERM)
			}
			p.start(name)
		}
	}
	nodes := []string{"redis-node-1", "redis-node-0"}
	rollout(append(nodes, allSentinels...)...)
	p.awaitReady(append(nodes, allSentinels...)...)
	p.put("first")
	for _, step := range steps[1:] {
		p.b = build(t, append(step, "redisReplicas=1")...)
		// In the two middle steps each pod meets pods of the step before.
		for _, group := range [][]string{nodes[:1], allSentinels[2:], nodes[1:], allSentinels[:2]} {
			rollout(group...)
			p.awaitReady(append(nodes, allSentinels...)...)
		}
		p.mustHave(p.master(), "first")
	}

	t.Log("a password that the others don't know stops the rollout at the first pod")
	p.b = build(t, "redisPassword=out-of-the-blue", "redisReplicas=1")
	for _, name := range []string{"redis-sentinel-2", "redis-node-1"} {
		rollout(name)
		require.Never(t, p.running[name].ready, 3*time.Second, 100*time.Millisecond, name)
	}

	alone := newRedisPods(t, build(t, steps[1]...))
	alone.start("redis")
	alone.awaitReady("redis")
	for _, one := range []string{"the-old-one", "the-new-one"} {
		cli := alone.running["redis"].command([]string{"redis-cli", "-e", "ping"})
		cli.Env = append(cli.Env, "REDISCLI_AUTH="+one)
		out, err := cli.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

// Names that nobody has yet must not keep a sentinel from starting.
func TestASentinelStartsBeforeTheOthersHaveNames(t *testing.T) {
	t.Parallel()
	p := newRedisPods(t, build(t, "redisReplicas=2"))
	p.names = strings.NewReplacer(
		"redis-sentinel-0.redis-sentinel.headroom.svc.cluster.local", p.address("redis-sentinel-0"),
		".svc.cluster.local", ".invalid")
	pod := p.start("redis-sentinel-0")
	p.eventually("it answers", func() bool { out, _ := pod.ask("ping"); return out == "PONG" })
	out, err := pod.ask("sentinel", "get-master-addr-by-name", "headroom")
	require.NoError(t, err)
	require.Contains(t, out, "redis-node-0.redis-node.headroom.invalid")
	require.False(t, pod.ready())
}
