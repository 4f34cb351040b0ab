package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// What RedisURL leads to.
const (
	RedisStandalone = "standalone"
	RedisSentinel   = "sentinel"
	RedisCluster    = "cluster"
)

// Redis configures the Redis that holds the queue: the stack's own, or another
// that is there already.
type Redis struct {
	MaxMemory      string // such as 256mb, 16mb to 64gb
	Password       string // empty: one is generated when the Secret is first made, or with URL none is sent
	SecondPassword string // accepted besides Password; empty: none

	Replicas     int    // copies of the data, with failover to one of them, 0 to 2
	Storage      string // quantity, at least StorageLeast; empty: the data goes with the pod
	StorageClass string // empty: the cluster's default; with Storage

	TLSSecret string // Secret with ca.crt, and for the stack's own Redis tls.crt and tls.key; empty: no TLS, or with URL the system's authorities

	URL            string // of another Redis, without a password; empty: the stack has its own
	Mode           string // what URL leads to: RedisStandalone, RedisSentinel or RedisCluster
	PasswordSecret string // with URL, the Secret whose key password is sent; empty: Password
}

// External tells whether the queue is in a Redis that the stack doesn't run.
func (r Redis) External() bool { return r.URL != "" }

// MaxMemoryBytes is MaxMemory in bytes.
func (r Redis) MaxMemoryBytes() int64 {
	bytes, _ := redisBytes(r.MaxMemory)
	return bytes
}

// StorageLeast is how much the append-only file may need, in mebibytes: the
// present one grows to twice the data before the next one is written beside it.
func (r Redis) StorageLeast() int64 { return 4*mebibytes(r.MaxMemoryBytes()) + 1024 }

func mebibytes(bytes int64) int64 { return (bytes + 1<<20 - 1) >> 20 }

func (r *reader) redis() Redis {
	r.secrecy("redisPassword")
	r.secrecy("redisSecondPassword")
	return Redis{
		MaxMemory:      r.text("redisMaxMemory", "256mb"),
		Password:       r.text("redisPassword", ""),
		SecondPassword: r.text("redisSecondPassword", ""),
		Replicas:       r.integer("redisReplicas", 0),
		Storage:        r.text("redisStorage", ""),
		StorageClass:   r.text("redisStorageClass", ""),
		TLSSecret:      r.text("redisTlsSecret", ""),
		URL:            r.text("redisUrl", ""),
		Mode:           r.text("redisMode", RedisStandalone),
		PasswordSecret: r.text("redisPasswordSecret", ""),
	}
}

// pinned is an image with a tag or a digest.
var pinned = regexp.MustCompile(`:[^/]+$`)

const secretName = "must be the name of a Secret in the namespace: lower-case letters, digits, - and ."

func (v *validator) redis(c Config) {
	r := c.Redis
	v.quantity("redisMaxMemory", r.MaxMemory, redisBytes, 16<<20, 64<<30,
		"must be from 16mb to 64gb, such as 256mb")
	v.password("redisPassword", r.Password)
	v.password("redisSecondPassword", r.SecondPassword)
	v.statement(r.SecondPassword == "" || r.Password != "", "redisSecondPassword", "is set",
		"headroom:redisPassword must be set too: the generated one is not known here")

	v.within("redisReplicas", r.Replicas, 0, 2)
	if r.Storage != "" {
		size := v.quantity("redisStorage", r.Storage, memoryBytes, 1<<30, 16384<<30,
			"must be from 1Gi to 16384Gi, such as 8Gi, or empty")
		if v.sound("redisStorage", "redisMaxMemory") {
			v.rule(size>>20 >= r.StorageLeast(), "redisStorage", r.Storage,
				fmt.Sprintf("must be at least %dMi with headroom:redisMaxMemory %s: the append-only file may take four times that, and 1 Gi", r.StorageLeast(), r.MaxMemory))
		}
	}
	v.rule(r.StorageClass == "" || isObjectName(r.StorageClass) && len(r.StorageClass) <= 50, "redisStorageClass", r.StorageClass,
		"must be the name of a StorageClass: at most 50 lower-case letters, digits, - and .")
	v.rule(r.StorageClass == "" || r.Storage != "" || r.External(), "redisStorageClass", r.StorageClass,
		"must be empty while headroom:redisStorage is")
	for _, name := range []struct{ key, value string }{{"redisTlsSecret", r.TLSSecret}, {"redisPasswordSecret", r.PasswordSecret}} {
		v.rule(name.value == "" || isObjectName(name.value), name.key, name.value, secretName)
	}
	exporter := c.Images.RedisExporter
	v.rule(exporter == "" || pinned.MatchString(exporter) && !strings.HasSuffix(exporter, ":latest"), "redisExporterImage", exporter,
		"must name a version by its tag or digest, such as oliver006/redis_exporter:v1.67.0")
	v.oneOf("redisMode", r.Mode, RedisStandalone, RedisSentinel, RedisCluster)
	if r.External() {
		v.externalRedis(c)
	} else {
		v.rule(r.Mode == RedisStandalone, "redisMode", r.Mode,
			"must be standalone without headroom:redisUrl; headroom:redisReplicas brings sentinels of the stack's own")
		v.rule(r.PasswordSecret == "", "redisPasswordSecret", r.PasswordSecret, "must be empty without headroom:redisUrl")
	}
}

// externalRedis checks the URL, and that nothing is asked of a Redis that is
// not the stack's.
func (v *validator) externalRedis(c Config) {
	r := c.Redis
	const foreign = "with headroom:redisUrl, whose Redis is not this stack's"
	v.rule(r.Replicas == 0, "redisReplicas", strconv.Itoa(r.Replicas), "must be 0 "+foreign)
	v.rule(r.Storage == "", "redisStorage", r.Storage, "must be empty "+foreign)
	v.rule(r.StorageClass == "", "redisStorageClass", r.StorageClass, "must be empty "+foreign)
	v.rule(c.Images.RedisExporter == "", "redisExporterImage", c.Images.RedisExporter, "must be empty "+foreign)
	v.statement(r.SecondPassword == "", "redisSecondPassword", "is set", "must be empty "+foreign)
	v.rule(r.PasswordSecret == "" || r.Password == "", "redisPasswordSecret", r.PasswordSecret,
		"must be empty while headroom:redisPassword is set: there is one password")
	if !v.sound("redisMode") {
		return
	}
	is, fix := redisURL(r.URL, r.Mode)
	v.statement(is == "", "redisUrl", is, fix)
	v.rule(r.TLSSecret == "" || strings.HasPrefix(r.URL, "rediss://"), "redisTlsSecret", r.TLSSecret,
		"must be empty while headroom:redisUrl is without TLS, which is rediss://")
}

// redisURLs are what redisUrl may look like. The dispatcher is stricter still.
var redisURLs = map[string]string{
	RedisStandalone: "redis://host:6379/0",
	RedisSentinel:   "redis://sentinel:26379/0?master_name=NAME&addr=sentinel2:26379",
	RedisCluster:    "redis://host:6379?addr=host2:6379",
}

var redisPath = regexp.MustCompile(`^/?[0-9]{0,3}$`)

// redisURL says what is wrong with the URL and what is allowed; is is empty
// where it is right. A URL that may hold a password is not repeated.
func redisURL(text, mode string) (is, fix string) {
	fix = fmt.Sprintf("must be like %s with headroom:redisMode %s, or the same with rediss:// for TLS", redisURLs[mode], mode)
	u, err := url.Parse(text)
	if err != nil {
		return "is not a URL", fix
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "is not a URL", fix
	}
	if _, set := u.User.Password(); set || query.Has("password") || strings.Count(text, "@") > 1 {
		return "has a password in it", "set it with: pulumi config set --secret redisPassword, or name its Secret with headroom:redisPasswordSecret"
	}
	wrong := fmt.Sprintf("is %q", text)
	switch {
	case u.Scheme != "redis" && u.Scheme != "rediss",
		u.Hostname() == "" || u.Fragment != "" || !redisPath.MatchString(u.Path),
		(mode == RedisSentinel) != query.Has("master_name"),
		mode == RedisStandalone && query.Has("addr"),
		mode == RedisSentinel && (u.Port() == "" || query.Get("master_name") == ""),
		mode == RedisCluster && strings.Trim(u.Path, "/0") != "":
		return wrong, fix
	}
	return "", ""
}

// password checks one that may be empty, and never repeats it.
func (v *validator) password(key, value string) {
	v.statement(value == "" || password.MatchString(value), key, "is not usable",
		`must be 8 to 128 printable ASCII characters without spaces, quotes and \`)
}

// statement is a rule about a value that isn't to be repeated.
func (v *validator) statement(holds bool, key, is, fix string) {
	if holds || v.broken[key] {
		return
	}
	v.broken[key] = true
	v.problems = append(v.problems, Problem{Project + ":" + key, is, fix})
}
