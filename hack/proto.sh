#!/usr/bin/env bash
# Generates the Go code of the gRPC messages beside their .proto file. Run it
# after a change there, and commit what it writes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

MESSAGES=v1.36.12
SERVICES=v1.6.2
plugins=$STATE/proto/$MESSAGES-$SERVICES
folder=$ROOT/apps/internal/oipgrpc/inferencepb

command -v protoc >/dev/null || "$ROOT/hack/apt.sh" protobuf-compiler
if [ ! -x "$plugins/protoc-gen-go" ] || [ ! -x "$plugins/protoc-gen-go-grpc" ]; then
  say "building protoc-gen-go $MESSAGES and protoc-gen-go-grpc $SERVICES"
  GOBIN=$plugins GOWORK=off GOFLAGS=-buildvcs=false go install "google.golang.org/protobuf/cmd/protoc-gen-go@$MESSAGES"
  GOBIN=$plugins GOWORK=off GOFLAGS=-buildvcs=false go install "google.golang.org/grpc/cmd/protoc-gen-go-grpc@$SERVICES"
fi
PATH=$plugins:$PATH protoc --proto_path="$folder" \
  --go_out="$folder" --go_opt=paths=source_relative \
  --go-grpc_out="$folder" --go-grpc_opt=paths=source_relative \
  open_inference.proto
