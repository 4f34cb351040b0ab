package dispatchtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// MasterName is what the sentinels here call the master.
const MasterName = "headroom"

// startLimit is how long a topology may take to start.
const startLimit = 20 * time.Second

// SentinelRedis is a master, its replica, and three sentinels. Nothing is kept
// on disk.
type SentinelRedis struct {
	t            testing.TB
	certificates *Certificates
	servers      []*node
	sentinels    []*node
}

// StartSentinel starts a master, its replica and three sentinels, which take
// half a second without an answer for the master's end. They end with the test.
func StartSentinel(t testing.TB) *SentinelRedis { return startSentinel(t, nil) }

// StartTLSSentinel is StartSentinel with all of them speaking TLS only, to
// clients with a certificate.
func StartTLSSentinel(t testing.TB, certificates *Certificates) *SentinelRedis {
	return startSentinel(t, certificates)
}

func startSentinel(t testing.TB, certificates *Certificates) *SentinelRedis {
	t.Helper()
	s := &SentinelRedis{t: t, certificates: certificates}
	addresses := freeAddresses(t, 5)
	master := addresses[0]
	for i, address := range addresses[:2] {
		config := fmt.Sprintf("requirepass %[1]s\nmasterauth %[1]s\nappendonly no\nsave \"\"\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n", RedisPassword)
		if i > 0 {
			config += "replicaof " + spaced(master) + "\n"
		}
		s.servers = append(s.servers, startNode(t, address, certificates, config))
	}
	eventually(t, "the replica follows the master", s.servers, func(n *node) bool {
		info := n.info("replication")
		return strings.Contains(info, "connected_slaves:1\r\n") || strings.Contains(info, "master_link_status:up\r\n")
	})
	// The sentinels are told of each other: they would take seconds to find out.
	id := func(i int) string { return strings.Repeat(fmt.Sprint(i+1), 40) }
	for i, address := range addresses[2:] {
		config := fmt.Sprintf("requirepass %[1]s\nsentinel monitor %[2]s %[3]s 2\nsentinel auth-pass %[2]s %[1]s\nsentinel down-after-milliseconds %[2]s 500\nsentinel failover-timeout %[2]s 2000\nsentinel myid %[4]s\n",
			RedisPassword, MasterName, spaced(master), id(i))
		for j, other := range addresses[2:] {
			if j != i {
				config += fmt.Sprintf("sentinel known-sentinel %s %s %s\n", MasterName, spaced(other), id(j))
			}
		}
		s.sentinels = append(s.sentinels, startNode(t, address, certificates, config, "--sentinel"))
	}
	eventually(t, "the sentinels could replace the master", s.sentinels, func(n *node) bool {
		client := n.sentinel()
		defer func() { _ = client.Close() }()
		ctx := context.Background()
		// Neither down nor disconnected: then these are the only flags.
		have := func(instances []map[string]string, n int, flags string) bool {
			return len(instances) == n && !slices.ContainsFunc(instances, func(i map[string]string) bool { return i["flags"] != flags })
		}
		replicas, _ := client.Replicas(ctx, MasterName).Result()
		sentinels, _ := client.Sentinels(ctx, MasterName).Result()
		return client.CkQuorum(ctx, MasterName).Err() == nil && have(sentinels, 2, "sentinel") &&
			have(replicas, 1, "slave") && replicas[0]["master-link-status"] == "ok"
	})
	return s
}

// URL is where the sentinels are, without any password.
func (s *SentinelRedis) URL() string {
	return fmt.Sprintf("%s://%s/0?master_name=%s&addr=%s&addr=%s",
		s.certificates.scheme(), s.sentinels[0].address, MasterName, s.sentinels[1].address, s.sentinels[2].address)
}

// Master is where the master is, as the sentinels that run say; empty where
// none runs.
func (s *SentinelRedis) Master() string {
	for _, n := range s.sentinels {
		client := n.sentinel()
		place, err := client.GetMasterAddrByName(context.Background(), MasterName).Result()
		_ = client.Close()
		if err == nil {
			return net.JoinHostPort(place[0], place[1])
		}
	}
	return ""
}

// KillMaster ends the master at once and returns where it was.
func (s *SentinelRedis) KillMaster() string {
	s.t.Helper()
	master := s.master()
	master.kill()
	return master.address
}

// FreezeMaster stops the master in its tracks and returns where it is:
// connections stay open, nothing is answered.
func (s *SentinelRedis) FreezeMaster() string {
	s.t.Helper()
	master := s.master()
	master.signal(syscall.SIGSTOP)
	return master.address
}

// Thaw lets a frozen master go on. The sentinels make it a replica.
func (s *SentinelRedis) Thaw(address string) {
	s.t.Helper()
	find(s.t, s.servers, address).signal(syscall.SIGCONT)
}

// KillSentinel ends the sentinel that URL names first.
func (s *SentinelRedis) KillSentinel() { s.sentinels[0].kill() }

// Client talks to the Redis at an address, master or not.
func (s *SentinelRedis) Client(address string) *redis.Client {
	s.t.Helper()
	return find(s.t, s.servers, address).client()
}

func (s *SentinelRedis) master() *node {
	s.t.Helper()
	return find(s.t, s.servers, s.Master())
}

// ClusterRedis is a Redis Cluster of three masters that share the slots, and a
// replica of the one that has the queue's. Nothing is kept on disk.
type ClusterRedis struct {
	t            testing.TB
	certificates *Certificates
	nodes        []*node
}

// queueSlot is the slot of {headroom}, as CLUSTER KEYSLOT says.
const queueSlot = 11749

// StartCluster starts a Redis Cluster of three masters and one replica, which
// take half a second without an answer for a master's end. It ends with the
// test.
func StartCluster(t testing.TB) *ClusterRedis { return startCluster(t, nil) }

// StartTLSCluster is StartCluster with all nodes speaking TLS only, to clients
// with a certificate.
func StartTLSCluster(t testing.TB, certificates *Certificates) *ClusterRedis {
	return startCluster(t, certificates)
}

func startCluster(t testing.TB, certificates *Certificates) *ClusterRedis {
	t.Helper()
	c := &ClusterRedis{t: t, certificates: certificates}
	addresses := freeAddresses(t, 8)
	ctx := context.Background()
	must := func(command redis.Cmder) {
		t.Helper()
		if command.Err() != nil {
			t.Fatal(command.Err())
		}
	}
	for i, address := range addresses[:4] {
		config := fmt.Sprintf("requirepass %[1]s\nmasterauth %[1]s\nappendonly no\nsave \"\"\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1\ncluster-enabled yes\ncluster-node-timeout 500\ncluster-announce-ip 127.0.0.1\ncluster-port %[2]s\n",
			RedisPassword, port(addresses[4+i]))
		c.nodes = append(c.nodes, startNode(t, address, certificates, config))
	}
	first := c.nodes[0].client()
	defer func() { _ = first.Close() }()
	slots := [][2]int{{0, 5460}, {5461, 10922}, {10923, 16383}}
	for i, n := range c.nodes {
		client := n.client()
		defer func() { _ = client.Close() }()
		must(client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1))
		if i < len(slots) {
			must(client.ClusterAddSlotsRange(ctx, slots[i][0], slots[i][1]))
		}
		if i > 0 {
			must(first.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", port(n.address), port(addresses[4+i])))
		}
	}
	owner, replica := c.nodes[2].client(), c.nodes[3].client()
	defer func() { _, _ = owner.Close(), replica.Close() }()
	id, err := owner.Do(ctx, "CLUSTER", "MYID").Text()
	if err != nil {
		t.Fatal(err)
	}
	Eventually(t, startLimit, "the replica knows its master", func() bool {
		return replica.Do(ctx, "CLUSTER", "REPLICATE", id).Err() == nil
	})
	eventually(t, "the cluster is whole", c.nodes, func(n *node) bool {
		client := n.client()
		defer func() { _ = client.Close() }()
		info, _ := client.ClusterInfo(ctx).Result()
		nodes, _ := client.ClusterNodes(ctx).Result()
		return strings.Contains(info, "cluster_state:ok\r\n") && strings.Contains(info, "cluster_known_nodes:4\r\n") &&
			strings.Contains(nodes, "slave "+id)
	})
	Eventually(t, startLimit, "the replica follows its master", func() bool {
		return strings.Contains(c.nodes[3].info("replication"), "master_link_status:up\r\n")
	})
	return c
}

// URL is where two of the nodes are, without any password.
func (c *ClusterRedis) URL() string {
	return fmt.Sprintf("%s://%s?addr=%s", c.certificates.scheme(), c.nodes[0].address, c.nodes[1].address)
}

// Nodes are where the nodes are.
func (c *ClusterRedis) Nodes() []string {
	addresses := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		addresses[i] = n.address
	}
	return addresses
}

// Master is where the master is that has the queue's slot.
func (c *ClusterRedis) Master() string { return c.master().address }

// KillMaster ends at once the master that has the queue's slot, and returns
// where it was.
func (c *ClusterRedis) KillMaster() string {
	c.t.Helper()
	master := c.master()
	master.kill()
	return master.address
}

// FreezeMaster stops in its tracks the master that has the queue's slot, and
// returns where it is: connections stay open, nothing is answered.
func (c *ClusterRedis) FreezeMaster() string {
	c.t.Helper()
	master := c.master()
	master.signal(syscall.SIGSTOP)
	return master.address
}

// Thaw lets a frozen node go on.
func (c *ClusterRedis) Thaw(address string) {
	c.t.Helper()
	find(c.t, c.nodes, address).signal(syscall.SIGCONT)
}

// MoveQueue moves the queue's slot, with all that is in it, to another master.
func (c *ClusterRedis) MoveQueue() {
	c.t.Helper()
	from := c.master()
	to := c.nodes[0]
	if to == from {
		to = c.nodes[1]
	}
	ctx := context.Background()
	source, target := from.client(), to.client()
	defer func() { _, _ = source.Close(), target.Close() }()
	do := func(client *redis.Client, arguments ...any) *redis.Cmd {
		c.t.Helper()
		command := client.Do(ctx, arguments...)
		if command.Err() != nil {
			c.t.Fatal(command.Err())
		}
		return command
	}
	sourceID, _ := do(source, "CLUSTER", "MYID").Text()
	targetID, _ := do(target, "CLUSTER", "MYID").Text()
	do(target, "CLUSTER", "SETSLOT", queueSlot, "IMPORTING", sourceID)
	do(source, "CLUSTER", "SETSLOT", queueSlot, "MIGRATING", targetID)
	keys, _ := do(source, "CLUSTER", "GETKEYSINSLOT", queueSlot, 1000).StringSlice()
	if len(keys) > 0 {
		arguments := []any{"MIGRATE", "127.0.0.1", port(to.address), "", 0, 5000, "AUTH", RedisPassword, "KEYS"}
		for _, key := range keys {
			arguments = append(arguments, key)
		}
		do(source, arguments...)
	}
	do(target, "CLUSTER", "SETSLOT", queueSlot, "NODE", targetID)
	do(source, "CLUSTER", "SETSLOT", queueSlot, "NODE", targetID)
}

// Client talks to the node at an address alone.
func (c *ClusterRedis) Client(address string) *redis.Client {
	c.t.Helper()
	return find(c.t, c.nodes, address).client()
}

func (c *ClusterRedis) master() *node {
	c.t.Helper()
	for _, n := range c.nodes {
		if n.process == nil {
			continue
		}
		client := n.client()
		shards, err := client.ClusterShards(context.Background()).Result()
		_ = client.Close()
		if err != nil {
			// Frozen.
			continue
		}
		for _, shard := range shards {
			if !slices.ContainsFunc(shard.Slots, func(s redis.SlotRange) bool { return s.Start <= queueSlot && queueSlot <= s.End }) {
				continue
			}
			for _, member := range shard.Nodes {
				if member.Role == "master" {
					return find(c.t, c.nodes, net.JoinHostPort(member.IP, fmt.Sprint(max(member.Port, member.TLSPort))))
				}
			}
		}
	}
	c.t.Fatal("no node knows who has the queue's slot")
	return nil
}

// TLSRedis is a redis-server that speaks TLS only.
type TLSRedis struct {
	*Certificates
	server *node
}

// StartTLSRedis starts a redis-server that speaks TLS only, with a certificate
// of these for 127.0.0.1, and only to clients with one of theirs where
// clientCertificates is set. It ends with the test.
func StartTLSRedis(t testing.TB, certificates *Certificates, clientCertificates bool) *TLSRedis {
	t.Helper()
	config := fmt.Sprintf("requirepass %s\nappendonly no\nsave \"\"\n", RedisPassword)
	if !clientCertificates {
		config += "tls-auth-clients no\n"
	}
	return &TLSRedis{certificates, startNode(t, FreeAddress(t), certificates, config)}
}

// URL is where it is, without its password.
func (r *TLSRedis) URL() string { return "rediss://" + r.server.address + "/0" }

// node is a redis-server of a topology.
type node struct {
	t            testing.TB
	address      string
	certificates *Certificates
	process      *exec.Cmd
	output       bytes.Buffer
}

// startNode starts a redis-server and waits until it answers. A configuration
// sets everything but what each here has.
func startNode(t testing.TB, address string, certificates *Certificates, config string, arguments ...string) *node {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatalf("this test needs a real redis-server in PATH (Debian: apt-get install redis-server): %v", err)
	}
	folder := t.TempDir()
	listen := "port " + port(address) + "\n"
	if certificates != nil {
		listen = fmt.Sprintf("port 0\ntls-port %s\ntls-replication yes\ntls-ca-cert-file %s\ntls-cert-file %s\ntls-key-file %s\n",
			port(address), certificates.CAFile, certificates.serverCert, certificates.serverKey)
		if strings.Contains(config, "cluster-enabled") {
			listen += "tls-cluster yes\n"
		}
	}
	file := filepath.Join(folder, "redis.conf")
	config = listen + "bind 127.0.0.1\ndir " + folder + "\n" + config
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, address: address, certificates: certificates}
	n.process = exec.Command("redis-server", append([]string{file}, arguments...)...)
	n.process.Stdout = &n.output
	if err := n.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.kill)
	client := n.client()
	defer func() { _ = client.Close() }()
	Eventually(t, startLimit, "redis-server answers at "+address, func() bool {
		return client.Ping(context.Background()).Err() == nil
	})
	return n
}

func (n *node) kill() {
	if n.process == nil {
		return
	}
	_ = n.process.Process.Kill()
	_ = n.process.Wait()
	n.process = nil
	if n.t.Failed() {
		n.t.Logf("redis-server at %s:\n%s", n.address, n.output.String())
	}
}

func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.process.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) options() *redis.Options {
	o := &redis.Options{Addr: n.address, Password: RedisPassword, Protocol: 2, DialerRetries: 1, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: time.Second}
	if n.certificates != nil {
		o.TLSConfig = n.certificates.client(n.t)
	}
	return o
}

func (n *node) client() *redis.Client { return redis.NewClient(n.options()) }

func (n *node) sentinel() *redis.SentinelClient { return redis.NewSentinelClient(n.options()) }

func (n *node) info(section string) string {
	client := n.client()
	defer func() { _ = client.Close() }()
	text, _ := client.Info(context.Background(), section).Result()
	return text
}

func find(t testing.TB, nodes []*node, address string) *node {
	t.Helper()
	for _, n := range nodes {
		if n.address == address {
			return n
		}
	}
	t.Fatalf("no redis-server here is at %q", address)
	return nil
}

// eventually waits until a condition holds for every node.
func eventually(t testing.TB, what string, nodes []*node, condition func(*node) bool) {
	t.Helper()
	for _, n := range nodes {
		Eventually(t, startLimit, what, func() bool { return condition(n) })
	}
}

// freeAddresses are different addresses that nobody listens on.
func freeAddresses(t testing.TB, n int) []string {
	t.Helper()
	addresses := make([]string, n)
	for i := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		// Open until all are chosen, so that none is chosen twice.
		defer func() { _ = l.Close() }()
		addresses[i] = l.Addr().String()
	}
	return addresses
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// spaced is an address as Redis' configuration wants it.
func spaced(address string) string { return strings.Replace(address, ":", " ", 1) }
