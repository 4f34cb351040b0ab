// Package imagetar packs one static binary into a container image, without a
// registry, a Dockerfile or an image builder.
package imagetar

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
)

// nobody is the user and group of the image's process, as numbers because the
// image has no passwd file.
const nobody = "65532:65532"

// Write writes a docker-archive to w: an image called reference (name:tag)
// that holds the file at binary in its root and runs it as its entry point.
// The same binary gives the same bytes. A binary that needs a dynamic loader
// is refused, because the image has none.
func Write(w io.Writer, binary, reference string) error {
	if err := checkStatic(binary); err != nil {
		return err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("read the image's binary: %w", err)
	}
	name := path.Base(binary)
	var layer bytes.Buffer
	if err := writeTar(&layer, []entry{{name: name, mode: 0o755, content: content}}); err != nil {
		return err
	}
	type object = map[string]any
	config, err := json.Marshal(object{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       object{"Entrypoint": []string{"/" + name}, "User": nobody},
		"rootfs":       object{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer.Bytes())}},
		"history":      []object{{"created_by": "localcluster"}},
	})
	if err != nil {
		return err
	}
	configName := digest(config) + ".json"
	manifest, err := json.Marshal([]object{{
		"Config":   configName,
		"RepoTags": []string{reference},
		"Layers":   []string{"layer.tar"},
	}})
	if err != nil {
		return err
	}
	return writeTar(w, []entry{
		{name: "manifest.json", mode: 0o644, content: manifest},
		{name: configName, mode: 0o644, content: config},
		{name: "layer.tar", mode: 0o644, content: layer.Bytes()},
	})
}

func checkStatic(binary string) error {
	file, err := elf.Open(binary)
	if err != nil {
		return fmt.Errorf("image binary %s: %w", binary, err)
	}
	defer func() { _ = file.Close() }()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("image binary %s: %w", binary, errDynamic)
		}
	}
	return nil
}

var errDynamic = errors.New("is linked dynamically; build it with CGO_ENABLED=0")

type entry struct {
	name    string
	mode    int64
	content []byte
}

func writeTar(w io.Writer, entries []entry) error {
	archive := tar.NewWriter(w)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("write image entry %s: %w", e.name, err)
		}
		if _, err := archive.Write(e.content); err != nil {
			return fmt.Errorf("write image entry %s: %w", e.name, err)
		}
	}
	return archive.Close()
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
