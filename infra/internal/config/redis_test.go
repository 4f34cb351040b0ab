package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// secretly is a source in which the passwords are stored encrypted.
func secretly(settings ...string) Source {
	source := written(settings...)
	source.Secret["headroom:redisPassword"] = true
	source.Secret["headroom:redisSecondPassword"] = true
	return source
}

func TestRulesForRedis(t *testing.T) {
	const (
		foreign    = "with headroom:redisUrl, whose Redis is not this stack's"
		objectName = "must be the name of a Secret in the namespace: lower-case letters, digits, - and ."
		elsewhere  = "redisUrl=redis://elsewhere:6379/0"
		password   = "must be 8 to 128 printable ASCII characters without spaces, quotes and \\"
		inURL      = "headroom:redisUrl has a password in it; set it with: pulumi config set --secret redisPassword, or name its Secret with headroom:redisPasswordSecret"
		standalone = "must be like redis://host:6379/0 with headroom:redisMode standalone, or the same with rediss:// for TLS"
		sentinel   = "must be like redis://sentinel:26379/0?master_name=NAME&addr=sentinel2:26379 with headroom:redisMode sentinel, or the same with rediss:// for TLS"
		cluster    = "must be like redis://host:6379?addr=host2:6379 with headroom:redisMode cluster, or the same with rediss:// for TLS"
	)
	for _, test := range []struct {
		settings string // separated by spaces
		message  string
	}{
		{"redisReplicas=3", `headroom:redisReplicas is "3"; must be a whole number from 0 to 2`},
		{"redisReplicas=-1", `headroom:redisReplicas is "-1"; must be a whole number from 0 to 2`},
		{"redisStorage=lots", `headroom:redisStorage is "lots"; must be from 1Gi to 16384Gi, such as 8Gi, or empty`},
		{"redisStorage=1000Mi", `headroom:redisStorage is "1000Mi"; must be from 1Gi to 16384Gi, such as 8Gi, or empty`},
		{"redisStorage=1Gi", `headroom:redisStorage is "1Gi"; must be at least 2048Mi with headroom:redisMaxMemory 256mb: the append-only file may take four times that, and 1 Gi`},
		{"redisStorage=8Gi redisMaxMemory=2gb", `headroom:redisStorage is "8Gi"; must be at least 9216Mi with headroom:redisMaxMemory 2gb: the append-only file may take four times that, and 1 Gi`},
		{"redisStorageClass=fast", `headroom:redisStorageClass is "fast"; must be empty while headroom:redisStorage is`},
		{"redisStorage=2Gi redisStorageClass=Fast", `headroom:redisStorageClass is "Fast"; must be the name of a StorageClass: at most 50 lower-case letters, digits, - and .`},
		{"redisStorage=2Gi redisStorageClass=" + strings.Repeat("a", 51), `headroom:redisStorageClass is "` + strings.Repeat("a", 51) + `"; must be the name of a StorageClass: at most 50 lower-case letters, digits, - and .`},
		{"redisTlsSecret=Redis_TLS", `headroom:redisTlsSecret is "Redis_TLS"; ` + objectName},
		{"redisExporterImage=oliver006/redis_exporter", `headroom:redisExporterImage is "oliver006/redis_exporter"; must name a version by its tag or digest, such as oliver006/redis_exporter:v1.67.0`},
		{"redisExporterImage=host:5000/redis_exporter", `headroom:redisExporterImage is "host:5000/redis_exporter"; must name a version by its tag or digest, such as oliver006/redis_exporter:v1.67.0`},
		{"redisExporterImage=redis_exporter:latest", `headroom:redisExporterImage is "redis_exporter:latest"; must name a version by its tag or digest, such as oliver006/redis_exporter:v1.67.0`},
		{"redisExporterImage=a:b:c", `headroom:redisExporterImage is "a:b:c"; must be an image reference such as name:tag or host:5000/name@sha256:…`},
		{"redisPassword=short", "headroom:redisPassword is not usable; " + password},
		{"redisPassword=long-enough redisSecondPassword=short", "headroom:redisSecondPassword is not usable; " + password},
		{"redisSecondPassword=long-enough", "headroom:redisSecondPassword is set; headroom:redisPassword must be set too: the generated one is not known here"},

		{"redisMode=primary", `headroom:redisMode is "primary"; must be one of standalone, sentinel, cluster`},
		{"redisMode=sentinel", `headroom:redisMode is "sentinel"; must be standalone without headroom:redisUrl; headroom:redisReplicas brings sentinels of the stack's own`},
		{"redisPasswordSecret=redis-auth", `headroom:redisPasswordSecret is "redis-auth"; must be empty without headroom:redisUrl`},
		{elsewhere + " redisReplicas=1", `headroom:redisReplicas is "1"; must be 0 ` + foreign},
		{elsewhere + " redisStorage=2Gi", `headroom:redisStorage is "2Gi"; must be empty ` + foreign},
		{elsewhere + " redisStorageClass=fast", `headroom:redisStorageClass is "fast"; must be empty ` + foreign},
		{elsewhere + " redisExporterImage=e:1", `headroom:redisExporterImage is "e:1"; must be empty ` + foreign},
		{elsewhere + " redisPassword=long-enough redisSecondPassword=long-enough", "headroom:redisSecondPassword is set; must be empty " + foreign},
		{elsewhere + " redisPasswordSecret=Auth", `headroom:redisPasswordSecret is "Auth"; ` + objectName},
		{elsewhere + " redisPasswordSecret=auth redisPassword=long-enough", `headroom:redisPasswordSecret is "auth"; must be empty while headroom:redisPassword is set: there is one password`},
		{elsewhere + " redisTlsSecret=tls", `headroom:redisTlsSecret is "tls"; must be empty while headroom:redisUrl is without TLS, which is rediss://`},
		{"redisUrl=http://host:6379", `headroom:redisUrl is "http://host:6379"; ` + standalone},
		{"redisUrl=unix:///run/redis.sock", `headroom:redisUrl is "unix:///run/redis.sock"; ` + standalone},
		{"redisUrl=host:6379", `headroom:redisUrl is "host:6379"; ` + standalone},
		{"redisUrl=redis://host:6379/queue", `headroom:redisUrl is "redis://host:6379/queue"; ` + standalone},
		{"redisUrl=redis://host?master_name=m", `headroom:redisUrl is "redis://host?master_name=m"; ` + standalone},
		{"redisUrl=redis://host?addr=b:1", `headroom:redisUrl is "redis://host?addr=b:1"; ` + standalone},
		{"redisUrl=redis://host:port", `headroom:redisUrl is not a URL; ` + standalone},
		{"redisMode=sentinel redisUrl=redis://s:26379", `headroom:redisUrl is "redis://s:26379"; ` + sentinel},
		{"redisMode=sentinel redisUrl=redis://s?master_name=m", `headroom:redisUrl is "redis://s?master_name=m"; ` + sentinel},
		{"redisMode=cluster redisUrl=redis://host:6379/1", `headroom:redisUrl is "redis://host:6379/1"; ` + cluster},
		{"redisUrl=redis://:s3cret@host:6379", inURL},
		{"redisUrl=redis://user:s3cret@host:6379", inURL},
		{"redisUrl=redis://user:s3@cret@host:6379", inURL},
		{"redisMode=sentinel redisUrl=redis://s:1?master_name=m&password=s3cret", inURL},
		{"redisUrl=redis://user:s3/cret@host:6379", "headroom:redisUrl is not a URL; " + standalone},
	} {
		t.Run(test.settings, func(t *testing.T) {
			_, err := Load(secretly(strings.Split(test.settings, " ")...), project())
			require.EqualError(t, err, test.message)
		})
	}
}

func TestSecondPasswordMustNotBeInClearText(t *testing.T) {
	_, err := Load(written("redisSecondPassword=long-enough"), project())
	require.EqualError(t, err, "headroom:redisSecondPassword is stored in clear text; set it with: pulumi config set --secret redisSecondPassword")
}

func TestRedisInAllItsForms(t *testing.T) {
	for _, settings := range []string{
		"redisReplicas=2 redisStorage=8Gi redisStorageClass=fast redisTlsSecret=redis-tls redisExporterImage=oliver006/redis_exporter:v1.67.0",
		"redisStorage=2Gi",
		"redisPassword=long-enough redisSecondPassword=another-one",
		"redisExporterImage=host:5000/redis_exporter@sha256:" + strings.Repeat("0", 64),
		"redisUrl=redis://host",
		"redisUrl=redis://host:6379/3",
		"redisUrl=redis://[::1]:6379/0",
		"redisUrl=redis://user@host:6379/0 redisPassword=long-enough",
		"redisUrl=rediss://host:6379/0 redisTlsSecret=redis-ca redisPasswordSecret=redis-auth",
		"redisMode=sentinel redisUrl=redis://s1:26379/0?master_name=m&addr=s2:26379&addr=s3:26379",
		"redisMode=cluster redisUrl=rediss://n1:6379?addr=n2:6379",
	} {
		t.Run(settings, func(t *testing.T) {
			_, err := Load(secretly(strings.Split(settings, " ")...), project())
			require.NoError(t, err)
		})
	}
}

func TestAnExternalRedisNeedsNoImage(t *testing.T) {
	cfg, err := Load(written("redisUrl=redis://host"), project())
	require.NoError(t, err)
	cfg.Images.Redis = ""
	require.Empty(t, cfg.Validate())
	cfg.Redis.URL = ""
	require.EqualError(t, cfg.Validate(), "headroom:redisImage is not set; name an image, or run `make images` and set headroom:imagesFile")
}

func TestRulesForCallersAndTraces(t *testing.T) {
	const (
		objectName = "must be the name of a Secret in the namespace: lower-case letters, digits, - and ."
		collector  = "must be like http://collector.observability.svc:4318, or the same with https"
	)
	for _, test := range []struct{ settings, message string }{
		{"apiKeysSecret=keys.json/0", `headroom:apiKeysSecret is "keys.json/0"; ` + objectName},
		{"otlpEndpoint=collector:4318", `headroom:otlpEndpoint is "collector:4318"; ` + collector},
		{"otlpEndpoint=http://collector:4318?token=s3cret", `headroom:otlpEndpoint is "http://collector:4318?token=s3cret"; ` + collector},
		{"otlpEndpoint=http://", `headroom:otlpEndpoint is "http://"; ` + collector},
		{"otlpEndpoint=https://me:s3cret@collector", "headroom:otlpEndpoint has a user in it; credentials belong into the Secret that headroom:otlpHeadersSecret names"},
		{"otlpHeadersSecret=otlp", `headroom:otlpHeadersSecret is "otlp"; must be empty while headroom:otlpEndpoint is`},
		{"otlpEndpoint=http://collector:4318 otlpHeadersSecret=OTLP", `headroom:otlpHeadersSecret is "OTLP"; ` + objectName},
		{"traceSampleRatio=2", `headroom:traceSampleRatio is "2"; must be a number from 0 to 1`},
		{"traceSampleRatio=NaN", `headroom:traceSampleRatio is "NaN"; must be a number from 0 to 1`},
		{"traceSampleRatio=all", `headroom:traceSampleRatio is "all"; must be a number`},
	} {
		t.Run(test.settings, func(t *testing.T) {
			_, err := Load(written(strings.Split(test.settings, " ")...), project())
			require.EqualError(t, err, test.message)
		})
	}
	_, err := Load(written("apiKeysSecret=api-keys", "otlpEndpoint=https://collector/base", "otlpHeadersSecret=otlp", "traceSampleRatio=0.05"), project())
	require.NoError(t, err)
}
