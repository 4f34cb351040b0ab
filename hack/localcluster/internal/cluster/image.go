package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"headroom.dev/hack/localcluster/internal/imagetar"
)

// Load imports images from docker-archive files, so that pods can use them by
// the names in them.
func (c *Cluster) Load(ctx context.Context, files []string) error {
	if err := needRoot(); err != nil {
		return err
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return fmt.Errorf("image: %w", err)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("image %s is not a file: want a docker-archive tar", file)
		}
	}
	if err := dialContainerd(ctx); err != nil {
		return errors.New("the cluster is not up: run localcluster up")
	}
	for _, file := range files {
		started := time.Now()
		names, err := c.importImage(ctx, file)
		if err != nil {
			return err
		}
		for _, name := range names {
			c.say("loaded %-51s %5.1f s", name, time.Since(started).Seconds())
		}
	}
	return nil
}

// importImage imports one archive and is the names that it holds.
func (c *Cluster) importImage(ctx context.Context, file string) ([]string, error) {
	out, err := ctr(ctx, "images", "import", file)
	if err != nil {
		return nil, fmt.Errorf("import image %s: %w", file, err)
	}
	return imported(out), nil
}

// imported reads the names from what ctr prints: "unpacking NAME
// (sha256:…)...done", a line an image.
func imported(out string) []string {
	var names []string
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "unpacking" {
			names = append(names, fields[1])
		}
	}
	return names
}

func ctr(ctx context.Context, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, "ctr", append([]string{"--address", containerdSocket, "--namespace", "k8s.io"}, arguments...)...)
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, bytes.TrimSpace(problems.Bytes()))
	}
	return out.String(), nil
}

// ensurePause makes containerd hold the image of the pods' sandboxes.
func (c *Cluster) ensurePause(ctx context.Context) error {
	held, err := ctr(ctx, "images", "list", "--quiet")
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	if slices.Contains(strings.Fields(held), pause) {
		return nil
	}
	file, err := os.CreateTemp(c.state, "pause-*.tar")
	if err != nil {
		return fmt.Errorf("pack the sandbox image: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	err = errors.Join(imagetar.Write(file, filepath.Join(c.binaries, "pause"), pause), file.Close())
	if err != nil {
		return fmt.Errorf("pack the sandbox image: %w", err)
	}
	_, err = c.importImage(ctx, file.Name())
	return err
}
