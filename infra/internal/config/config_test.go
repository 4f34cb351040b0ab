package config

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"headroom.dev/infra/policy"
)

const imagesJSON = `{"modelserver":"headroom/modelserver:1","dispatcher":"headroom/dispatcher:1","scaler":"headroom/scaler:1",
"redis":"headroom/redis:1","prometheus":"headroom/prometheus:1","metricsserver":"headroom/metrics-server:1"}`

func project() fstest.MapFS {
	return fstest.MapFS{
		".headroom/images.json": {Data: []byte(imagesJSON)},
		"broken.json":           {Data: []byte(`{"modelserver":`)},
		"stranger.json":         {Data: []byte(`{"model":"x"}`)},
		"huge.json":             {Data: []byte(`{"modelserver":"` + strings.Repeat("x", imagesFileLimit) + `"}`)},
	}
}

// written returns a source with the images file named and the given keys, as
// key=value without the project's name.
func written(settings ...string) Source {
	source := Source{Values: map[string]string{"headroom:imagesFile": ".headroom/images.json"}, Secret: map[string]bool{}}
	for _, setting := range settings {
		key, value, _ := strings.Cut(setting, "=")
		source.Values["headroom:"+key] = value
	}
	return source
}

func TestDefaults(t *testing.T) {
	cfg, err := Load(written(), project())
	require.NoError(t, err)
	require.Equal(t, Config{
		Namespace: "headroom", CreateNamespace: true,
		Scaler: ScalerCustom, HPACPUPercent: 70, HPABehavior: KubernetesHPABehavior(), MinReplicas: 1, MaxReplicas: 10, Replicas: 1,
		Custom: Custom{
			Mode: ModeActive, Replicas: 2, ScaleInStabilization: time.Minute, BridgeCeiling: 1,
			IdleAfter: 5 * time.Minute, ColdStartAllowance: 30 * time.Second,
		},
		SLOLatency:            500 * time.Millisecond,
		ModelServerCPURequest: "500m", ModelServerCPULimit: "1", ModelServerMemory: "512Mi",
		DispatcherReplicas: 1, BackendConcurrency: 1, Tracing: Tracing{SampleRatio: 1},
		Redis: Redis{MaxMemory: "256mb", Mode: RedisStandalone},
		Images: Images{
			ModelServer: "headroom/modelserver:1", Dispatcher: "headroom/dispatcher:1", Scaler: "headroom/scaler:1",
			Redis: "headroom/redis:1", Prometheus: "headroom/prometheus:1", MetricsServer: "headroom/metrics-server:1",
			Grafana: defaultGrafanaImage,
		},
		ImagePullPolicy: "IfNotPresent",
		Availability: Availability{
			DisruptionBudgets: true, ModelServerMaxUnavailable: "1", TopologySpread: SpreadPreferred, AntiAffinity: SpreadPreferred,
		},
		Exposure:    Exposure{Kind: ExposureService, TLS: true},
		ServiceType: "NodePort", DispatcherNodePort: 30501, PrometheusNodePort: 30090, NodeAddress: "127.0.0.1",
		ClusterDomain:            "cluster.local",
		PrometheusScrapeInterval: time.Second, PrometheusRetention: "6h",
		Monitoring: Monitoring{
			Prometheus: PrometheusOwn, RetentionSize: "1GB", Namespace: "monitoring",
			RunbookURL: "docs/monitoring.md", DashboardLabels: map[string]string{"grafana_dashboard": "1"},
		},
		NetworkPolicies: true, APIServerPorts: []int{443, 6443},
		Policy: policy.Warn,
	}, cfg)
	require.Empty(t, cfg.Validate())
	require.EqualValues(t, 256<<20, cfg.Redis.MaxMemoryBytes())
}

func TestImages(t *testing.T) {
	t.Run("an image's own key wins over the images file", func(t *testing.T) {
		cfg, err := Load(written("dispatcherImage=mine:2"), project())
		require.NoError(t, err)
		require.Equal(t, "mine:2", cfg.Images.Dispatcher)
		require.Equal(t, "headroom/modelserver:1", cfg.Images.ModelServer)
	})
	t.Run("Redis and Prometheus have defaults, what this project builds has none", func(t *testing.T) {
		cfg, err := Load(written("imagesFile=", "modelServerImage=m:1", "dispatcherImage=d:1", "scalerImage=s:1"), project())
		require.NoError(t, err)
		require.Equal(t, defaultRedisImage, cfg.Images.Redis)
		require.Equal(t, defaultPrometheusImage, cfg.Images.Prometheus)
	})
	t.Run("an image that is not run need not be known", func(t *testing.T) {
		_, err := Load(written("imagesFile=", "modelServerImage=m:1", "dispatcherImage=d:1", "scaler=hpa"), project())
		require.NoError(t, err)
	})
	t.Run("references in all their forms", func(t *testing.T) {
		for _, reference := range []string{
			"redis", "redis:7.2", "prom/prometheus:v2.53.2", "host.example:5000/a/b-c/d_e:tag", "localhost/headroom/scaler:dev",
			"a/b@sha256:" + strings.Repeat("0", 64), "a:1@sha256:" + strings.Repeat("f", 64),
		} {
			require.Regexp(t, imageReference, reference)
		}
		for _, reference := range []string{"", "a b", "a:", "a/B", "/a", "a@sha256:12", "https://host/a:1", "a:1:2/x"} {
			require.NotRegexp(t, imageReference, reference)
		}
	})
}

func TestEveryRuleNamesKeyValueAndWhatIsAllowed(t *testing.T) {
	const duration = "must be a duration with its unit, such as 500ms or 2s"
	for _, test := range []struct{ setting, message string }{
		{"namespace=My_Space", `headroom:namespace is "My_Space"; must be a DNS label: at most 63 lower-case letters, digits and -, with a letter or digit at both ends`},
		{"createNamespace=yes", `headroom:createNamespace is "yes"; must be true or false`},
		{"scaler=keda", `headroom:scaler is "keda"; must be one of custom, hpa, none`},
		{"hpaCpuPercent=0", `headroom:hpaCpuPercent is "0"; must be a whole number from 1 to 100`},
		{"hpaCpuPercent=101", `headroom:hpaCpuPercent is "101"; must be a whole number from 1 to 100`},
		{"hpaCpuPercent=70%", `headroom:hpaCpuPercent is "70%"; must be a whole number`},
		{"minReplicas=-1", `headroom:minReplicas is "-1"; must be a whole number from 0 to 1000`},
		{"minReplicas=11", `headroom:minReplicas is "11"; must be at most headroom:maxReplicas, which is 10`},
		{"maxReplicas=1001", `headroom:maxReplicas is "1001"; must be a whole number from 1 to 1000`},
		{"maxReplicas=many", `headroom:maxReplicas is "many"; must be a whole number`},
		{"replicas=0", `headroom:replicas is "0"; must be a whole number from 1 to 1000`},
		{"prometheusScrapeInterval=16s", `headroom:prometheusScrapeInterval is "16s"; must be at most 15s with headroom:scaler custom, whose rates look back 3 scrapes and more`},
		{"scaleInStabilization=10ms", `headroom:scaleInStabilization is "10ms"; must be a duration in whole milliseconds from 1s to 1h0m0s, such as 1.5s`},
		{"scalerReplicas=6", `headroom:scalerReplicas is "6"; must be a whole number from 1 to 5`},
		{"scalerMode=observe", `headroom:scalerMode is "observe"; must be one of active, dry-run`},
		{"bridgeCeiling=0.5", `headroom:bridgeCeiling is "0.5"; must be a number from 1 to 16`},
		{"bridgeCeiling=NaN", `headroom:bridgeCeiling is "NaN"; must be a number from 1 to 16`},
		{"bridgeCeiling=twice", `headroom:bridgeCeiling is "twice"; must be a number`},
		{"idleAfter=0s", `headroom:idleAfter is "0s"; must be a duration in whole milliseconds from 1s to 24h0m0s, such as 1.5s`},
		{"coldStartAllowance=11m", `headroom:coldStartAllowance is "11m0s"; must be a duration in whole milliseconds from 1s to 10m0s, such as 1.5s`},
		{"fallbackAfter=-1s", `headroom:fallbackAfter is "-1s"; must be a duration in whole milliseconds from 0s to 24h0m0s, such as 1.5s`},
		{"fallbackReplicas=-1", `headroom:fallbackReplicas is "-1"; must be a whole number from 0 to 1000`},
		{"fallbackReplicas=11", `headroom:fallbackReplicas is "11"; must be at most headroom:maxReplicas, which is 10`},
		{"fallbackReplicas=3", `headroom:fallbackReplicas is "3"; must be 0 while headroom:fallbackAfter is 0s, which holds the present count for ever`},
		{"sloLatency=500", `headroom:sloLatency is "500"; ` + duration},
		{"sloLatency=1ms", `headroom:sloLatency is "1ms"; must be a duration in whole milliseconds from 10ms to 1m0s, such as 1.5s`},
		{"modelServerCpuRequest=lots", `headroom:modelServerCpuRequest is "lots"; must be CPU cores from 10m to 64, such as 250m or 1.5`},
		{"modelServerCpuRequest=1.5", `headroom:modelServerCpuRequest is "1.5"; must be at most headroom:modelServerCpuLimit, which is "1"`},
		{"modelServerCpuLimit=65", `headroom:modelServerCpuLimit is "65"; must be CPU cores from 10m to 64, such as 250m or 1.5`},
		{"modelServerMemory=512", `headroom:modelServerMemory is "512"; must be memory from 64Mi to 64Gi, such as 512Mi`},
		{"dispatcherReplicas=21", `headroom:dispatcherReplicas is "21"; must be a whole number from 1 to 20`},
		{"backendConcurrency=0", `headroom:backendConcurrency is "0"; must be a whole number from 1 to 64`},
		{"modelServerImage=my model:1", `headroom:modelServerImage is "my model:1"; must be an image reference such as name:tag or host:5000/name@sha256:…`},
		{"imagesFile=/etc/images.json", `headroom:imagesFile is "/etc/images.json"; must be a path inside the project, relative to its root, such as .headroom/images.json`},
		{"imagesFile=missing.json", "headroom:imagesFile is \"missing.json\"; there is no such file: run `make images`, which builds the images and writes it"},
		{"imagesFile=broken.json", "headroom:imagesFile is \"broken.json\"; the file is not what `make images` writes: unexpected EOF"},
		{"imagesFile=stranger.json", "headroom:imagesFile is \"stranger.json\"; the file is not what `make images` writes: json: unknown field \"model\""},
		{"imagesFile=huge.json", `headroom:imagesFile is "huge.json"; can't read it: larger than 65536 bytes`},
		{"imagePullPolicy=Sometimes", `headroom:imagePullPolicy is "Sometimes"; must be one of Always, IfNotPresent, Never`},
		{"serviceType=Ingress", `headroom:serviceType is "Ingress"; must be one of NodePort, LoadBalancer, ClusterIP`},
		{"dispatcherNodePort=5001", `headroom:dispatcherNodePort is "5001"; must be a whole number from 30000 to 32767`},
		{"prometheusNodePort=32768", `headroom:prometheusNodePort is "32768"; must be a whole number from 30000 to 32767`},
		{"prometheusNodePort=30501", `headroom:prometheusNodePort is "30501"; must be another port than headroom:dispatcherNodePort`},
		{"nodeAddress=http://host:80", `headroom:nodeAddress is "http://host:80"; must be a host name or an IP address, without a scheme or a port`},
		{"clusterDomain=cluster.local.", `headroom:clusterDomain is "cluster.local."; must be a DNS domain in lower case, such as cluster.local`},
		{"metricsServer=1", `headroom:metricsServer is "1"; must be true or false`},
		{"prometheusScrapeInterval=2m", `headroom:prometheusScrapeInterval is "2m0s"; must be a duration in whole milliseconds from 1s to 1m0s, such as 1.5s`},
		{"prometheusScrapeInterval=1.0001s", `headroom:prometheusScrapeInterval is "1.0001s"; must be a duration in whole milliseconds from 1s to 1m0s, such as 1.5s`},
		{"prometheusRetention=6", `headroom:prometheusRetention is "6"; must be a whole number from 1 to 9999 and h, d or w, such as 6h or 15d`},
		{"redisMaxMemory=256Mi", `headroom:redisMaxMemory is "256Mi"; must be from 16mb to 64gb, such as 256mb`},
		{"redisMaxMemory=1mb", `headroom:redisMaxMemory is "1mb"; must be from 16mb to 64gb, such as 256mb`},
		{"redisPassword=plainly-written", `headroom:redisPassword is stored in clear text; set it with: pulumi config set --secret redisPassword`},
		{"policy=strict", `headroom:policy is "strict"; must be one of off, warn, enforce`},
		{"networkPolicies=on", `headroom:networkPolicies is "on"; must be true or false`},
		{"minreplicas=2", `headroom:minreplicas is not a key of this project; Pulumi.yaml lists all keys, is it minReplicas?`},
		{"colour=red", `headroom:colour is not a key of this project; Pulumi.yaml lists all keys`},
	} {
		t.Run(test.setting, func(t *testing.T) {
			_, err := Load(written(test.setting), project())
			require.EqualError(t, err, test.message)
		})
	}
}

func TestOnlyTheCustomScalerStartsFromZero(t *testing.T) {
	cfg, err := Load(written("minReplicas=0"), project())
	require.NoError(t, err)
	require.True(t, cfg.FromZero())
	cfg, err = Load(written("minReplicas=1"), project())
	require.NoError(t, err)
	require.False(t, cfg.FromZero())
	for _, scaler := range []string{"hpa", "none"} {
		_, err := Load(written("scaler="+scaler, "minReplicas=0"), project())
		require.EqualError(t, err, `headroom:minReplicas is "0"; must be at least 1 with headroom:scaler `+scaler+`: only custom can start from zero`)
	}
}

func TestPasswordIsCheckedAndNeverShown(t *testing.T) {
	for _, bad := range []string{"short", `quote"inside`, `back\slash`, "with space", "with\nnewline"} {
		source := written("redisPassword=" + bad)
		source.Secret["headroom:redisPassword"] = true
		_, err := Load(source, project())
		require.EqualError(t, err, `headroom:redisPassword is not usable; must be 8 to 128 printable ASCII characters without spaces, quotes and \`)
	}
	source := written("redisPassword=s3cret-enough!")
	source.Secret["headroom:redisPassword"] = true
	cfg, err := Load(source, project())
	require.NoError(t, err)
	require.Equal(t, "s3cret-enough!", cfg.Redis.Password)
}

func TestKubernetesKeysAreRefusedAndOthersIgnored(t *testing.T) {
	source := written()
	source.Values["kubernetes:context"] = "production"
	source.Values["aws:region"] = "eu-west-1"
	_, err := Load(source, project())
	require.EqualError(t, err, "kubernetes:context has no effect here; headroom:kubeContext names the cluster, and the KUBECONFIG environment variable the kubeconfig")
}

func TestAllProblemsAreReportedAtOnceByKey(t *testing.T) {
	_, err := Load(written("sloLatency=soon", "scaler=keda", "maxReplicas=ten", "minReplicas=20", "typo=1", "imagesFile="), project())
	require.EqualError(t, err, strings.Join([]string{
		"headroom:dispatcherImage is not set; name an image, or run `make images` and set headroom:imagesFile",
		"headroom:maxReplicas is \"ten\"; must be a whole number",
		"headroom:modelServerImage is not set; name an image, or run `make images` and set headroom:imagesFile",
		"headroom:scaler is \"keda\"; must be one of custom, hpa, none",
		"headroom:sloLatency is \"soon\"; must be a duration with its unit, such as 500ms or 2s",
		"headroom:typo is not a key of this project; Pulumi.yaml lists all keys",
	}, "\n"))
	var problems Problems
	require.ErrorAs(t, err, &problems)
	require.Len(t, problems, 6)
}

func TestQuantities(t *testing.T) {
	for text, want := range map[string]int64{"100m": 100, "1": 1000, "1.5": 1500, "0.125": 125} {
		got, ok := cpuMillis(text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for text, want := range map[string]int64{"512Mi": 512 << 20, "1Gi": 1 << 30, "1G": 1e9, "1024": 1024} {
		got, ok := memoryBytes(text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "m", "-1", "1.5m", "1.2345", "1e3", "1 ", "9999999"} {
		_, ok := cpuMillis(text)
		require.False(t, ok, text)
	}
	_, ok := memoryBytes("999999999999Gi")
	require.False(t, ok, "overflows")
}

// The engine fills in the defaults of Pulumi.yaml before the program runs, so
// the two must say the same.
func TestPulumiYAMLDeclaresTheKeysOfThisProgram(t *testing.T) {
	content, err := os.ReadFile("../../../Pulumi.yaml")
	require.NoError(t, err)
	var declared struct {
		Name   string
		Config map[string]struct {
			Type, Description string
			Default           any
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &declared))
	require.Equal(t, Project, declared.Name)

	withDefaults := Source{Values: map[string]string{}}
	for full, key := range declared.Config {
		require.NotEmpty(t, key.Description, full)
		require.Contains(t, []string{"string", "integer", "boolean", "array", "object"}, key.Type, full)
		require.NotNil(t, key.Default, "%s: without a default the engine would ask for the key", full)
		text, isText := key.Default.(string)
		if !isText {
			encoded, err := json.Marshal(key.Default)
			require.NoError(t, err)
			text = string(encoded)
		}
		withDefaults.Values[full] = text
	}
	withDefaults.Values["headroom:imagesFile"] = ".headroom/images.json"
	fromYAML, err := Load(withDefaults, project())
	require.NoError(t, err, "every declared key is known and every default allowed")
	fromCode, err := Load(written(), project())
	require.NoError(t, err)
	require.Equal(t, fromCode, fromYAML)

	for key := range knownKeys(t) {
		require.Contains(t, declared.Config, Project+":"+key)
	}
}

// knownKeys are the keys that Load asks for.
func knownKeys(t *testing.T) map[string]bool {
	t.Helper()
	r := newReader(written())
	_, problems := r.load(project())
	require.Empty(t, problems)
	return r.known
}
