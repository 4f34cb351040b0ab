#!/usr/bin/env bash
# Puts ONNX Runtime's shared library at .headroom/lib, from its npm package: the
# one place that has the official build and needs no download page.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

VERSION=1.24.1
case $(uname -m) in
  x86_64) arch=x64 sha256=53ef1ac028dd1b05554b8da28d9159eb3876f99868193d2aaa6e67f0243c23d4 ;;
  aarch64) arch=arm64 sha256=7954e8bdedb497f830c6a679e818d98399b7f4d81ade1126c3e0be74d28111ab ;;
  *) die "ONNX Runtime $VERSION is packaged for x86_64 and aarch64; this machine is $(uname -m)" ;;
esac
target=$STATE/lib/libonnxruntime.so.1
cached=$CACHE/onnxruntime/$VERSION-$arch/libonnxruntime.so.1

if [ ! -f "$cached" ]; then
  command -v npm >/dev/null || die "npm is missing: install Node.js (ONNX Runtime comes from its npm package)"
  say "fetching ONNX Runtime $VERSION ($arch)"
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
  (cd "$work" && npm pack --silent "onnxruntime-node@$VERSION" >/dev/null)
  tar -xzf "$work"/onnxruntime-node-*.tgz -C "$work" "package/bin/napi-v6/linux/$arch/libonnxruntime.so.1"
  library=$work/package/bin/napi-v6/linux/$arch/libonnxruntime.so.1
  echo "$sha256  $library" | sha256sum --quiet --check - ||
    die "onnxruntime-node@$VERSION holds another libonnxruntime.so.1 than the one pinned in $0"
  mkdir -p "$(dirname "$cached")"
  mv "$library" "$cached.$$"
  mv "$cached.$$" "$cached"
fi
mkdir -p "$(dirname "$target")"
[ "$(readlink -f "$target" 2>/dev/null)" = "$(readlink -f "$cached")" ] || ln -sfn "$cached" "$target"
