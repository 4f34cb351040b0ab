package onnxtest

import (
	"fmt"
	"os"
	"path/filepath"
)

// findUpwards looks for name in the working directory and those above it.
func findUpwards(name string) (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no %s in %s or above", name, start)
		}
	}
}
