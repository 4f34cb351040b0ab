package imagetar

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func staticBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "pause")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/pause")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build pause: %v\n%s", err, out)
	}
	return binary
}

func TestAnImageNamesItsConfigAndLayerByTheirDigests(t *testing.T) {
	binary := staticBinary(t)
	var image bytes.Buffer
	if err := Write(&image, binary, "localhost/headroom/pause:1"); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for archive := tar.NewReader(bytes.NewReader(image.Bytes())); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = content
	}
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if got := manifest[0].RepoTags; len(got) != 1 || got[0] != "localhost/headroom/pause:1" {
		t.Errorf("RepoTags = %v", got)
	}
	config := files[manifest[0].Config]
	if want := digest(config) + ".json"; manifest[0].Config != want {
		t.Errorf("config is called %s, its digest is %s", manifest[0].Config, want)
	}
	var parsed struct {
		Config struct{ Entrypoint []string }
		Rootfs struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		t.Fatal(err)
	}
	layer := files[manifest[0].Layers[0]]
	if want := "sha256:" + digest(layer); len(parsed.Rootfs.DiffIDs) != 1 || parsed.Rootfs.DiffIDs[0] != want {
		t.Errorf("diff_ids = %v, want %s", parsed.Rootfs.DiffIDs, want)
	}
	header, err := tar.NewReader(bytes.NewReader(layer)).Next()
	if err != nil {
		t.Fatal(err)
	}
	if got := "/" + header.Name; got != parsed.Config.Entrypoint[0] || header.Mode != 0o755 {
		t.Errorf("the layer holds %s (mode %o), the entry point is %s", got, header.Mode, parsed.Config.Entrypoint[0])
	}
}

func TestTheSameBinaryGivesTheSameImage(t *testing.T) {
	binary := staticBinary(t)
	var first, second bytes.Buffer
	if err := errors.Join(Write(&first, binary, "a:1"), Write(&second, binary, "a:1")); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two images of one binary differ")
	}
}

func TestABinaryThatNeedsALoaderIsRefused(t *testing.T) {
	dynamic, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	err = Write(io.Discard, dynamic, "a:1")
	if err == nil || !strings.Contains(err.Error(), "linked dynamically") {
		t.Errorf("Write of %s: %v, want a refusal of a dynamic binary", dynamic, err)
	}
}
