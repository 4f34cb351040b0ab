# headroom: every command that a person types. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

MODULES  := apps infra loadtest scaler
STACK    ?= dev
CONTEXT  ?=
REGISTRY ?=
BUILDER  ?=
MODEL    ?= vehicles
TRACE    ?= demo
SCALE    ?= 1
SPEED    ?= 1
ARRIVALS ?= poisson
SEED     ?= 1
IMAGES   ?= models/vehicles/samples
RUN      ?=
RUNS     ?= 1
SCALERS  ?= custom,custom-bridge,hpa70,hpa90
POLICIES ?=
WORKLOADS ?=
OUT      ?=
export STACK CONTEXT REGISTRY BUILDER MODEL
# Only for those who replay: the names are also flags of the programs under test.
demo demo-local loadtest compare: export TRACE := $(TRACE)
demo demo-local loadtest compare: export SCALE := $(SCALE)
demo demo-local loadtest compare: export SPEED := $(SPEED)
demo demo-local loadtest compare: export ARRIVALS := $(ARRIVALS)
demo demo-local loadtest compare: export SEED := $(SEED)
demo demo-local loadtest compare: export IMAGES := $(IMAGES)
demo demo-local loadtest compare: export RUN := $(RUN)
compare: export RUNS := $(RUNS)
compare: export SCALERS := $(SCALERS)
simulate: export TRACE := $(TRACE)
simulate: export SCALE := $(SCALE)
simulate: export SPEED := $(SPEED)
simulate: export SEED := $(SEED)
simulate: export POLICIES := $(POLICIES)
simulate: export WORKLOADS := $(WORKLOADS)
simulate: export OUT := $(OUT)

.PHONY: help demo demo-local up down preview cluster cluster-down images loadtest compare local env \
        test e2e simulate bench lint check-imports docs render golden fmt tidy model train tools clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  settings: CONTEXT=name (a cluster of yours instead of the local one)  REGISTRY=host/path (where its images are pushed)"
	@echo "            STACK=$(STACK)  MODEL=$(MODEL)  TRACE=$(TRACE)  SCALE=$(SCALE)  SPEED=$(SPEED)  IMAGES=$(IMAGES)"

demo: ## from nothing to a result: cluster, images, pulumi up, a three-minute replay, the summary
	@hack/demo.sh

demo-local: ## the same on processes: no cluster, no root, a few minutes [MODEL= TRACE= SCALE= SPEED= SEED=]
	@hack/demo-local.sh

up: ## pulumi up of the stack on the cluster (starts the local one unless CONTEXT=name)
	@hack/up.sh

preview: ## pulumi preview of the stack
	@hack/pulumi.sh preview --diff

down: ## pulumi destroy of the stack
	@hack/down.sh

cluster: ## start the local single-node Kubernetes (root); does nothing when it runs
	@hack/cluster.sh up

cluster-down: ## stop the local Kubernetes and remove every trace of it
	@hack/cluster.sh down

images: ## build the images and load them into the cluster
	@hack/images.sh build
	@hack/images.sh load

loadtest: ## replay TRACE against the stack: TRACE=demo|workload|workload_heavy|FILE SCALE=1 SPEED=1
	@hack/loadtest.sh

compare: ## replay TRACE against one scaler after another, and compare: SCALERS=custom,custom-bridge,hpa70,hpa90 RUNS=1
	@hack/compare.sh

local: ## dispatcher and model server without a cluster, on 5001 and 6001
	@hack/local.sh

env: ## print what `pulumi` and `kubectl` need: eval "$$(make -s env)"
	@hack/env.sh

test: ## every module's tests, against a real Redis, ONNX Runtime and Prometheus
	@hack/test.sh

e2e: ## the tests that need a cluster, on the local one
	@hack/e2e.sh

simulate: ## compare scalers in virtual time: TRACE=workload|demo|FILE or WORKLOADS=N [POLICIES=headroom,hpa70,... SEED=1 OUT=dir]
	@hack/simulate.sh

bench: ## measure each part beside its limit or peer; writes results/bench.json [BENCH=modelserver|dispatcher|scaler|loadtest] [PICTURE=file.jpg]
	@hack/bench.sh

lint: check-imports ## formatting, linters, tidy modules, shell scripts
	@hack/lint.sh

check-imports: ## no module imports another; only infra reaches Pulumi
	@hack/check-imports.sh

docs: ## write docs/configuration.md out of Pulumi.yaml
	@cd infra && GOWORK=off go run ./cmd/configdoc ../Pulumi.yaml ../docs/configuration.md

render: ## print the Kubernetes manifests of a stack, without a cluster [STACK=dev OUT=dir]
	@cd infra && GOWORK=off go run ./cmd/render $(if $(OUT),--out "$(abspath $(OUT))") $(if $(wildcard .headroom/images.json),,--stand-in-images) ../Pulumi.$(STACK).yaml

golden: ## write infra/golden anew: the manifests of the committed stacks
	@cd infra && GOWORK=off go test ./internal/render -run TestGolden -count=1 -args -update

fmt: ## format the Go code
	@gofmt -w $$(git ls-files '*.go')

model: ## fetch a model by name: NAME=squeezenet-imagenet [MODEL_MIRROR=dir]
	@hack/models.sh "$(NAME)"

train: ## train the bundled model anew (about 20 minutes)
	@hack/model/train.sh

tools: ## build or find the pinned tools
	@hack/tools.sh all

clean: ## remove what was built in this checkout (not the results, not the cluster)
	@rm -rf .headroom/images .headroom/images.json .headroom/bin .headroom/demo-local .headroom/program
