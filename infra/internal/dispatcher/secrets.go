package dispatcher

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"headroom.dev/infra/internal/redis"
	"headroom.dev/infra/internal/workload"
)

// APIKeysKey is the key of the Secret with the callers' keys, and the name of
// the file that it becomes.
const APIKeysKey = "keys.json"

const (
	redisCAFolder = "/etc/headroom/redis-ca"
	apiKeysFolder = "/etc/headroom/api-keys"
)

func redisFlags(c redis.Connection) []string {
	var flags []string
	if c.Mode != redis.Standalone {
		flags = append(flags, "--redis-mode", c.Mode)
	}
	if c.CASecret != "" {
		flags = append(flags, "--redis-ca", redisCAFolder+"/"+redis.CAKey)
	}
	return flags
}

func apiKeysFlags(secret string) []string {
	if secret == "" {
		return nil
	}
	return []string{"--api-keys", apiKeysFolder + "/" + APIKeysKey}
}

// annotations roll the pods when Redis' password changes.
func annotations(c redis.Connection) pulumi.StringMap {
	if c.Version == nil {
		return nil
	}
	return pulumi.StringMap{"headroom.dev/secret-version": c.Version}
}

// volume shows one key of a Secret, and only that one, as a file; none where
// there is no Secret.
func volume(name, folder, secret, key string) []workload.Volume {
	if secret == "" {
		return nil
	}
	return []workload.Volume{{Name: name, Path: folder, ReadOnly: true, Source: corev1.VolumeArgs{Secret: corev1.SecretVolumeSourceArgs{
		SecretName:  pulumi.String(secret),
		DefaultMode: pulumi.Int(0o440),
		Items:       corev1.KeyToPathArray{corev1.KeyToPathArgs{Key: pulumi.String(key), Path: pulumi.String(key)}},
	}}}}
}
