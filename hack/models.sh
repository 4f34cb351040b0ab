#!/usr/bin/env bash
# models.sh NAME: fetches a model of the catalogue (hack/models/NAME) into models/NAME.
#
# MODEL_MIRROR=dir takes the files from dir/NAME instead of the internet, under
# the names that they have at their source. Every file is checked against its
# sha256; models/NAME appears whole or not at all.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

catalogue=$ROOT/hack/models
usage() { printf 'error: %s\n' "$*" >&2; exit 2; }
known=$(cd "$catalogue" && printf '%s\n' */ | tr -d / | paste -sd ' ' | sed 's/ /, /g')
[ $# -le 1 ] || usage "models.sh takes one NAME, not $#; known models: $known"
name=${1:-}
[ -n "$name" ] || usage "NAME is missing: make model NAME=one of $known"
[ "$name" != vehicles ] || { say "vehicles comes with the repository: models/vehicles"; exit 0; }
case $name in
  *[!a-z0-9.-]* | .*) usage "NAME is $name: known models are $known" ;;
esac
[ -d "$catalogue/$name" ] || usage "NAME is $name: known models are $known"
recipe=$catalogue/$name
target=$ROOT/models/$name
command -v sha256sum >/dev/null || die "sha256sum is missing: install coreutils"

# right SHA256 FILE
right() { [ "$(sha256sum <"$2" | cut -d' ' -f1)" = "$1" ]; }

# obtain SHA256 FILE DESTINATION URL...: from the mirror, or from the first URL that has it.
obtain() {
  local sha256=$1 file=$2 destination=$3 url reason failures="" look
  shift 3
  if [ -n "${MODEL_MIRROR:-}" ]; then
    [ -f "$MODEL_MIRROR/$name/$file" ] || die "MODEL_MIRROR is $MODEL_MIRROR: it has no file $name/$file"
    cp "$MODEL_MIRROR/$name/$file" "$destination"
    right "$sha256" "$destination" || die "$MODEL_MIRROR/$name/$file has another sha256 than $sha256: nothing was installed"
    return
  fi
  command -v curl >/dev/null || die "curl is missing: install it, or give MODEL_MIRROR=dir"
  look=--silent
  [ ! -t 2 ] || look=--progress-bar
  for url in "$@"; do
    say "fetching $url"
    if reason=$(curl --fail --location --proto '=https' --connect-timeout 15 --speed-limit 1000 --speed-time 30 \
      --retry 3 --retry-delay 2 "$look" --write-out '%{errormsg}' --output "$destination" "$url"); then
      right "$sha256" "$destination" && return
      reason="another sha256 than $sha256"
    fi
    failures+="${failures:+; }$url: ${reason:-no reason given}"
  done
  die "$file could not be fetched, nothing was installed ($failures); MODEL_MIRROR=dir takes it from a folder"
}

# field ROLE: its line in the catalogue.
field() { awk -v role="$1" '$1 == role { $1 = ""; print; exit }' "$recipe/source"; }
read -r model_sha256 model_file model_urls <<<"$(field model)"
read -r labels_sha256 labels_file labels_urls <<<"$(field labels)"

if [ -e "$target" ]; then
  for file in model.onnx labels.txt model.yaml SHA256SUMS; do
    [ -f "$target/$file" ] || die "models/$name is there without $file: remove the folder to fetch it again"
  done
  right "$model_sha256" "$target/model.onnx" ||
    die "models/$name/model.onnx is not the catalogue's: remove the folder to fetch it again"
  (cd "$target" && sha256sum --status --check SHA256SUMS) ||
    die "models/$name is not as it was fetched (models/$name/SHA256SUMS): remove the folder to fetch it again"
  say "models/$name is already there and right"
  exit 0
fi

mkdir -p "$ROOT/models"
work=$(mktemp -d "$ROOT/models/.$name.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# The URLs hold no spaces; they are split on purpose.
# shellcheck disable=SC2086
obtain "$model_sha256" "$model_file" "$work/model.onnx" $model_urls
# shellcheck disable=SC2086
obtain "$labels_sha256" "$labels_file" "$work/labels.source" $labels_urls
# "555,fire engine, fire truck" and "n03345487 fire engine, fire truck" both read "fire engine, fire truck".
sed -E 's/\r$//; s/^([0-9]+,|n[0-9]{8} )//; s/"$//' "$work/labels.source" >"$work/labels.txt"
rm "$work/labels.source"
cp "$recipe/model.yaml" "$work/model.yaml"
(cd "$work" && sha256sum model.onnx labels.txt model.yaml >SHA256SUMS)
chmod 755 "$work"
chmod 644 "$work"/*
mv -T "$work" "$target"
say "models/$name is installed: MODEL=$name"
