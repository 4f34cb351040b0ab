package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ReadSysctl is the value of a kernel setting such as net.ipv4.ip_forward.
func ReadSysctl(name string) (string, error) {
	value, err := os.ReadFile(sysctlPath(name))
	if err != nil {
		return "", fmt.Errorf("read kernel setting %s: %w", name, err)
	}
	return strings.TrimSpace(string(value)), nil
}

// WriteSysctl sets a kernel setting, unless it has the value already.
func WriteSysctl(name, value string) error {
	if now, err := ReadSysctl(name); err == nil && now == value {
		return nil
	}
	if err := os.WriteFile(sysctlPath(name), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set kernel setting %s to %s: %w", name, value, err)
	}
	return nil
}

func sysctlPath(name string) string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
}
