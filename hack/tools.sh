#!/usr/bin/env bash
# Builds the pinned tools from source, each version once, and exposes them in
# .headroom/bin. The versions are the go.mod files of hack/toolchain; the
# results are cached per content, so clones of the repository share them.
set -euo pipefail

usage() {
  cat >&2 <<'EOF'
usage: hack/tools.sh GROUP...
  pulumi        the Pulumi CLI, its Go language host and its Kubernetes
                provider; an installed pulumi (>= 3.200, < 4) is used instead
  kubectl       kubectl alone; an installed one is used instead
  cluster       the local cluster: Kubernetes, CoreDNS, metrics-server and
                localcluster
  localcluster  localcluster alone, which is enough to take a cluster down
  lint          golangci-lint, and manifestlint for Kubernetes manifests
  all           all of these
HEADROOM_CACHE says where the builds are kept (default: ~/.cache/headroom).
EOF
  exit 2
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
hack=$repo/hack
bin=$repo/.headroom/bin
tools=${HEADROOM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/headroom}/tools

kubernetes_version=1.35.4
pulumi_version=3.215.0
# Where pulumi looks for the provider, unless the caller has a PULUMI_HOME of their
# own; one that it finds on PATH it takes too, and warns of it at each command.
provider=$repo/.headroom/pulumi-home/plugins/resource-kubernetes-v$(sed -n 's#.*pulumi-kubernetes/sdk/v4 v##p' "$repo/infra/go.mod")

# A workspace or build flags of the caller must not leak into pinned builds.
# Without cgo no C compiler is needed, and a tool can be all that an image holds.
export GOWORK=off GOFLAGS=-buildvcs=false CGO_ENABLED=0

say() { printf 'tools: %s\n' "$*"; }
die() {
  printf 'tools: %s\n' "$*" >&2
  exit 1
}

# ldflags prints the linker flags that stamp the versions: unset, kubectl and
# kubelet report v0.0.0 and pulumi prints nothing.
ldflags() {
  local flags="-s -w" package
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=v$kubernetes_version"
    flags+=" -X $package.gitMajor=${kubernetes_version%%.*}"
    flags+=" -X $package.gitMinor=$(cut -d. -f2 <<<"$kubernetes_version")"
    flags+=" -X $package.gitTreeState=clean"
  done
  printf '%s' "$flags -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v$pulumi_version"
}

# digest DIR... prints a key for everything that decides what a build of these
# modules yields: their sources, the Go release, the platform and this recipe.
digest() {
  {
    go version
    printf '%s %s\n' "$GOFLAGS" "$CGO_ENABLED"
    ldflags
    find "$@" -type f \( -name go.mod -o -name go.sum -o -name '*.go' \) ! -name '*_test.go' -print0 |
      LC_ALL=C sort -z | xargs -0 sha256sum | sed "s#$repo/##"
  } | sha256sum | cut -c1-16
}

# compile DIR OUT GO-BUILD-ARGUMENT... builds in module DIR and reports how far
# it is every half minute, because a first build of Kubernetes takes minutes.
compile() {
  local dir=$1 out=$2 log ticker started=$SECONDS
  shift 2
  log=$tools/build-$(basename "$dir").log
  : >"$log"
  (
    # Neither the output nor the lock may stay open in a sleep that outlives us.
    while sleep 30 >/dev/null 2>&1 9>&- && kill -0 $$ 2>/dev/null; do
      say "  $(grep -c . "$log") packages compiled, $((SECONDS - started)) s"
    done
  ) &
  ticker=$!
  if (cd "$dir" && nice -n 5 go build -v -ldflags "$(ldflags)" -o "$out/" "$@") >"$log" 2>&1; then
    kill "$ticker"
  else
    kill "$ticker"
    tail -n 20 "$log" >&2
    die "building in ${dir#"$repo"/} failed (full log: $log)"
  fi
}

# provider_embeds copies what the provider's main embeds out of its module.
provider_embeds() {
  local into=$hack/toolchain/cluster/cmd/pulumi-resource-kubernetes name from
  from=$(cd "$hack/toolchain/cluster" &&
    go mod download github.com/pulumi/pulumi-kubernetes/provider/v4 &&
    go list -m -f '{{.Dir}}' github.com/pulumi/pulumi-kubernetes/provider/v4)/cmd/pulumi-resource-kubernetes
  for name in schema terraform-mapping; do
    cmp -s "$from/$name.json" "$into/$name-embed.json" && continue
    install -m 0644 "$from/$name.json" "$into/.$name-embed.json"
    mv "$into/.$name-embed.json" "$into/$name-embed.json"
  done
}

kubernetes_commands=(kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet)

build_pulumi() {
  provider_embeds
  compile "$hack/toolchain/cluster" "$1" ./cmd/pulumi-resource-kubernetes github.com/pulumi/pulumi/pkg/v3/cmd/pulumi
  compile "$hack/toolchain/pulumi-language-go" "$1" tool
}
build_kubectl() { compile "$hack/toolchain/cluster" "$1" k8s.io/kubernetes/cmd/kubectl; }
build_kubernetes() {
  compile "$hack/toolchain/cluster" "$1" ./cmd/coredns "${kubernetes_commands[@]/#/k8s.io/kubernetes/cmd/}"
}
# metrics-server is a module of its own: linked with the libraries of another
# Kubernetes release it compiles, but ends at once for want of its API's models.
build_metrics-server() { compile "$hack/toolchain/metrics-server" "$1" tool; }
build_localcluster() { compile "$hack/localcluster" "$1" ./cmd/localcluster ./cmd/pause; }
build_lint() { compile "$hack/toolchain/lint" "$1" tool; }
build_manifestlint() { compile "$hack/manifestlint" "$1" .; }

# provide NAME HINT DIR... exposes what build_NAME makes of the modules in
# DIRs, building it first where the cache has none.
provide() {
  local name=$1 hint=$2 target started=$SECONDS
  shift 2
  target=$tools/$name-$(digest "$@")
  if [[ ! -d $target ]]; then
    mkdir -p "$tools"
    exec 9>"$tools/.$name.lock"
    if ! flock -n 9; then
      say "another run builds $name; waiting for it"
      flock 9
    fi
    if [[ ! -d $target ]]; then
      say "building $name ($hint)"
      partial=$tools/.partial-$name
      rm -rf "$partial"
      mkdir "$partial"
      "build_$name" "$partial"
      mv "$partial" "$target"
      say "built $name in $((SECONDS - started)) s"
    fi
    exec 9>&-
  fi
  mkdir -p "$bin"
  local file link
  for file in "$target"/*; do
    link=$bin/${file##*/}
    [[ -L $link && $(readlink "$link") == "$file" ]] || ln -sfn "$file" "$link"
  done
}

# installed NAME prints the path of a command of the caller's own, not one
# that an earlier run exposed.
installed() {
  local path
  while read -r path; do
    [[ $path -ef $bin/$1 || $path == "$bin/$1" ]] || { printf '%s' "$path" && return; }
  done < <(type -aP "$1")
  return 1
}

pulumi_fits() {
  local path version major minor
  path=$(installed pulumi) && installed pulumi-language-go >/dev/null || return 1
  version=$("$path" version 2>/dev/null) || return 1
  IFS=. read -r major minor _ <<<"${version#v}"
  [[ $major == 3 && $minor =~ ^[0-9]+$ && $minor -ge 200 ]] || return 1
  say "using the installed pulumi $version ($path)"
}

group() {
  case $1 in
  pulumi)
    if pulumi_fits; then
      rm -f "$bin"/pulumi "$bin"/pulumi-language-go "$bin"/pulumi-resource-kubernetes
    else
      provide pulumi "once, about 10 minutes on 2 cores" "$hack/toolchain/cluster" "$hack/toolchain/pulumi-language-go"
      if [[ -z ${PULUMI_HOME:-} || $PULUMI_HOME -ef $repo/.headroom/pulumi-home ]]; then
        mkdir -p "$provider"
        mv -f "$bin/pulumi-resource-kubernetes" "$provider/"
      fi
    fi
    ;;
  kubectl)
    [[ -x $bin/kubectl ]] || installed kubectl >/dev/null || provide kubectl "once, about 2 minutes on 2 cores" "$hack/toolchain/cluster"
    ;;
  cluster)
    provide kubernetes "once, about 6 minutes on 2 cores" "$hack/toolchain/cluster"
    provide metrics-server "once, about 3 minutes on 2 cores" "$hack/toolchain/metrics-server"
    group localcluster
    ;;
  localcluster) provide localcluster "seconds" "$hack/localcluster" ;;
  lint)
    provide lint "once, about 2 minutes on 2 cores" "$hack/toolchain/lint"
    provide manifestlint "once, about a minute on 2 cores" "$hack/manifestlint"
    ;;
  all)
    group pulumi
    group cluster
    group lint
    ;;
  *) usage ;;
  esac
}

[[ $# -gt 0 ]] || usage
command -v go >/dev/null || die "go is not installed: install the release that .go-version names, from go.dev/dl"
command -v flock >/dev/null || die "flock is not installed: install util-linux"
for each; do group "$each"; done
