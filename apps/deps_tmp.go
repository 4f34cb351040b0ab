//go:build deps

package deps

import (
	_ "github.com/gin-gonic/gin"
	_ "github.com/redis/go-redis/v9"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/alecthomas/kong"
	_ "github.com/alicebob/miniredis/v2"
	_ "github.com/yalue/onnxruntime_go"
	_ "go.yaml.in/yaml/v3"
	_ "golang.org/x/image/draw"
	_ "golang.org/x/image/webp"
	_ "github.com/santhosh-tekuri/jsonschema/v6"
	_ "github.com/x448/float16"
	_ "golang.org/x/sync/errgroup"
	_ "k8s.io/client-go/kubernetes"
	_ "k8s.io/client-go/kubernetes/fake"
	_ "k8s.io/client-go/informers"
	_ "k8s.io/client-go/tools/clientcmd"
	_ "k8s.io/api/discovery/v1"
	_ "github.com/google/uuid"
)
