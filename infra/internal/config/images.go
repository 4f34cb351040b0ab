package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
)

// Images are the references of the container images. One that the stack
// doesn't run may be empty.
type Images struct {
	ModelServer   string `json:"modelserver"`
	Dispatcher    string `json:"dispatcher"`
	Scaler        string `json:"scaler"`
	Redis         string `json:"redis"`
	Prometheus    string `json:"prometheus"`
	MetricsServer string `json:"metricsserver"`
	RedisExporter string `json:"redisexporter"` // empty: Redis has none
	Grafana       string `json:"grafana"`
}

// What Redis, Prometheus and Grafana are when neither a key nor the images file
// says otherwise. The other images are built by this project.
const (
	defaultRedisImage      = "redis:7.2.5"
	defaultPrometheusImage = "prom/prometheus:v2.53.2"
	defaultGrafanaImage    = "grafana/grafana:11.6.0"
)

// imagesFileLimit is far above any honest images file, in bytes.
const imagesFileLimit = 64 << 10

var imageReference = regexp.MustCompile(
	`^[a-zA-Z0-9][a-zA-Z0-9._-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)

// images takes each reference from its own key, else from the images file,
// else from the defaults.
func (r *reader) images(root fs.FS) Images {
	built := r.imagesFile(root)
	return Images{
		ModelServer:   r.text("modelServerImage", built.ModelServer),
		Dispatcher:    r.text("dispatcherImage", built.Dispatcher),
		Scaler:        r.text("scalerImage", built.Scaler),
		Redis:         r.text("redisImage", cmp.Or(built.Redis, defaultRedisImage)),
		Prometheus:    r.text("prometheusImage", cmp.Or(built.Prometheus, defaultPrometheusImage)),
		MetricsServer: r.text("metricsServerImage", built.MetricsServer),
		RedisExporter: r.text("redisExporterImage", built.RedisExporter),
		Grafana:       r.text("grafanaImage", cmp.Or(built.Grafana, defaultGrafanaImage)),
	}
}

func (r *reader) imagesFile(root fs.FS) Images {
	const key = "imagesFile"
	path, ok := r.lookup(key)
	if !ok {
		return Images{}
	}
	is := fmt.Sprintf("is %q", path)
	if !fs.ValidPath(path) {
		r.fail(key, is, "must be a path inside the project, relative to its root, such as .headroom/images.json")
		return Images{}
	}
	content, err := readLimited(root, path)
	if errors.Is(err, fs.ErrNotExist) {
		r.fail(key, is, "there is no such file: run `make images`, which builds the images and writes it")
		return Images{}
	}
	if err != nil {
		r.fail(key, is, fmt.Sprintf("can't read it: %v", err))
		return Images{}
	}
	var built Images
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&built); err != nil {
		r.fail(key, is, fmt.Sprintf("the file is not what `make images` writes: %v", err))
		return Images{}
	}
	return built
}

func readLimited(root fs.FS, path string) ([]byte, error) {
	file, err := root.Open(path)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, imagesFileLimit+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if len(content) > imagesFileLimit {
		return nil, fmt.Errorf("larger than %d bytes", imagesFileLimit)
	}
	return content, nil
}

// images checks the references of what the stack will run.
func (v *validator) images(c Config) {
	for _, image := range []struct {
		key, reference string
		runs           bool
	}{
		{"modelServerImage", c.Images.ModelServer, true},
		{"dispatcherImage", c.Images.Dispatcher, true},
		{"scalerImage", c.Images.Scaler, c.Scaler == ScalerCustom},
		{"redisImage", c.Images.Redis, !c.Redis.External()},
		{"redisExporterImage", c.Images.RedisExporter, c.Images.RedisExporter != ""},
		{"prometheusImage", c.Images.Prometheus, c.Monitoring.Own()},
		{"grafanaImage", c.Images.Grafana, c.Monitoring.Grafana},
		{"metricsServerImage", c.Images.MetricsServer, c.MetricsServer},
	} {
		switch {
		case !image.runs || v.broken["imagesFile"] && image.reference == "":
		case image.reference == "":
			v.problems = append(v.problems, Problem{Project + ":" + image.key, "is not set",
				"name an image, or run `make images` and set headroom:imagesFile"})
		default:
			v.rule(imageReference.MatchString(image.reference), image.key, image.reference,
				"must be an image reference such as name:tag or host:5000/name@sha256:…")
			v.rule(!c.RequireDigests || strings.Contains(image.reference, "@sha256:"), image.key, image.reference,
				"must be pinned by its digest, as name:tag@sha256:…, with headroom:requireDigests")
		}
	}
}
