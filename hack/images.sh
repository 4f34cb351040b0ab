#!/usr/bin/env bash
# Builds the images and gives them to a cluster, with or without a registry.
#
#   images.sh build          builds into .headroom/images/*.tar and writes
#                            .headroom/images.json (component → reference),
#                            which the Pulumi program reads (imagesFile)
#   images.sh load           to the local cluster, or to CONTEXT's: kind,
#                            minikube and k3d get the files, any other cluster
#                            pulls from REGISTRY, where they are pushed
#
# A tag is the hash of what the image is made of, so an unchanged image is
# neither built nor loaded again, and a changed one rolls out on the next `up`.
# BUILDER=docker|podman builds on debian:bookworm-slim; the default, buildah,
# needs no registry: it bootstraps its base from Debian's packages.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

OUT=$STATE/images
COMPONENTS=(modelserver dispatcher scaler redis prometheus metricsserver)
MODEL=${MODEL:-vehicles}
REGISTRY=${REGISTRY:-}
BUILDER=${BUILDER:-buildah}
PREFIX=${REGISTRY:-localhost/headroom}

# A store of our own: other images on this machine are not seen or changed.
# --isolation chroot needs neither namespaces nor a container runtime.
builder() {
  case $BUILDER in
    buildah) buildah --root "$CACHE/images/store" --runroot /run/headroom-images --storage-driver overlay "$@" ;;
    *) "$BUILDER" "$@" ;;
  esac
}
has_image() {
  case $BUILDER in
    buildah) builder inspect --type image "$1" >/dev/null 2>&1 ;;
    *) "$BUILDER" image inspect "$1" >/dev/null 2>&1 ;;
  esac
}
build_image() { # dockerfile, context, reference, build arguments
  local dockerfile=$1 context=$2 reference=$3 log; shift 3
  log=$OUT/$(basename "$context").log
  case $BUILDER in
    buildah) builder bud --isolation chroot "$@" -t "$reference" -f "$dockerfile" "$context" ;;
    *) builder build "$@" -t "$reference" -f "$dockerfile" "$context" ;;
  esac >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "building $reference failed; the whole log is $log"; }
}
save_image() { # reference, file
  case $BUILDER in
    buildah) builder push --quiet --disable-compression "$1" "docker-archive:$2.part:$1" >/dev/null ;;
    *) builder save -o "$2.part" "$1" ;;
  esac
  mv "$2.part" "$2"
}

# base prints the reference of the base image, bootstrapping it where needed.
BASE_RECIPE=(mmdebstrap --quiet --variant=minbase '--include=ca-certificates,libstdc++6'
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' bookworm)
base() {
  if [ "$BUILDER" != buildah ]; then echo "${BASE:-debian:bookworm-slim}"; return; fi
  # The month is part of the tag: a base older than that misses security updates.
  local tag reference context
  tag=$(printf '%s\n' "${BASE_RECIPE[@]}" "$(date +%Y-%m)" | sha256sum | cut -c1-16)
  reference=localhost/headroom/base:$tag
  if ! has_image "$reference"; then
    say "bootstrapping the base image from Debian's packages"
    context=$(mktemp -d); mkdir "$context/base"
    "${BASE_RECIPE[@]}" "$context/base/base.tar" >&2
    build_image "$ROOT/hack/images/base.Dockerfile" "$context/base" "$reference"
    rm -rf "$context"
  fi
  echo "$reference"
}

# fill_context COMPONENT DIR: what the component's Dockerfile copies.
fill_context() {
  case $1 in
    modelserver)
      [ -f "$ROOT/models/$MODEL/model.yaml" ] ||
        die "MODEL=$MODEL: there is no models/$MODEL/model.yaml; models here: $(cd "$ROOT/models" && ls -d ./*/ | tr -d './' | xargs)"
      local tags
      tags=$(jpeg_tags)
      (cd "$ROOT/apps" && GOWORK=off CGO_ENABLED=1 go build -tags "$tags" -trimpath -buildvcs=false -ldflags '-s -w' -o "$2/modelserver" ./cmd/modelserver)
      cp -L "$STATE/lib/libonnxruntime.so.1" "$2/"
      mkdir "$2/model"
      (cd "$ROOT/models/$MODEL" && find . -maxdepth 1 -type f -exec cp -t "$2/model" {} +)
      chmod -R a+rX "$2" ;;
    dispatcher|scaler)
      local module=scaler; [ "$1" = dispatcher ] && module=apps
      (cd "$ROOT/$module" && GOWORK=off CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$2/$1" "./cmd/$1") ;;
    metricsserver) cp -L "$STATE/bin/metrics-server" "$2/" ;;
  esac
}

# registry_needed: a cluster that isn't ours and takes no files pulls its images.
registry_needed() {
  case ${CONTEXT:-} in
    ""|headroom-local|kind-*|minikube|k3d-*) return 1 ;;
  esac
}
require_registry() {
  if registry_needed && [ -z "$REGISTRY" ]; then
    die "CONTEXT=$CONTEXT is not a local cluster, so it has to pull the images: set REGISTRY=host/path to a registry that you may push to and that it may pull from"
  fi
}

build() {
  require_registry
  local component context tag reference base_image json=""
  command -v "$BUILDER" >/dev/null || "$ROOT/hack/apt.sh" buildah mmdebstrap
  "$ROOT/hack/ort.sh"
  mkdir -p "$OUT"
  [ "$BUILDER" = buildah ] && mkdir -p "$CACHE/images/store"
  base_image=$(base)
  for component in "${COMPONENTS[@]}"; do
    # A cluster that was named brings its own metrics-server, or needs ours built.
    if [ "$component" = metricsserver ] && [ ! -e "$STATE/bin/metrics-server" ]; then continue; fi
    context=$OUT/$component
    rm -rf "$context"; mkdir -p "$context"
    fill_context "$component" "$context"
    tag=$( (digest "$ROOT/hack/images/$component.Dockerfile" "$context"; echo "$base_image") | sha256sum | cut -c1-16)
    reference=$PREFIX/$component:$tag
    if ! has_image "$reference"; then
      timed "building image $component" build_image "$ROOT/hack/images/$component.Dockerfile" "$context" "$reference" --build-arg "BASE=$base_image"
    fi
    rm -rf "$context"
    json+="${json:+,}"$'\n'"  \"$component\": \"$reference\""
  done
  printf '{%s\n}\n' "$json" >"$STATE/images.json.part"
  mv "$STATE/images.json.part" "$STATE/images.json"
}

references() { sed -n 's/^ *"\([a-z]*\)": "\([^"]*\)".*/\1 \2/p' "$STATE/images.json"; }

load() {
  local context=${CONTEXT:-} component reference file files=()
  [ -f "$STATE/images.json" ] || die "there are no images yet: run 'make images'"
  require_registry
  if registry_needed; then
    while read -r component reference; do
      timed "pushing $reference" builder push "$reference" >/dev/null
    done < <(references)
    return
  fi
  while read -r component reference; do
    if [ -z "$context" ] && localcluster_has "$reference"; then continue; fi
    file=$OUT/$component-${reference##*:}.tar
    if [ ! -f "$file" ]; then
      rm -f "$OUT/$component"-*.tar
      save_image "$reference" "$file"
    fi
    files+=("$file")
  done < <(references)
  [ ${#files[@]} -gt 0 ] || return 0
  case $context in
    ""|headroom-local) timed "loading ${#files[@]} images into the local cluster" "$ROOT/hack/cluster.sh" load "${files[@]}" ;;
    kind-*) for file in "${files[@]}"; do timed "kind load $(basename "$file")" kind load image-archive "$file" --name "${context#kind-}"; done ;;
    minikube) for file in "${files[@]}"; do timed "minikube image load $(basename "$file")" minikube image load "$file"; done ;;
    k3d-*) timed "k3d image import" k3d image import "${files[@]}" -c "${context#k3d-}" ;;
  esac
  # The builder's store keeps the images; the archives were only for the way.
  rm -f "${files[@]}"
}
localcluster_has() {
  ctr --address /run/headroom-cluster/containerd.sock -n k8s.io images ls -q 2>/dev/null | grep -qxF "$1"
}

case ${1:-} in
  build|load) "$1" ;;
  *) die "usage: images.sh build|load" ;;
esac
