package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
)

// IP runs ip(8) with the arguments.
func IP(arguments ...string) error {
	if out, err := exec.Command("ip", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", arguments, err, bytes.TrimSpace(out))
	}
	return nil
}

// LinkExists tells whether there is a network link of that name.
func LinkExists(name string) bool {
	_, err := os.Lstat(filepath.Join("/sys/class/net", name))
	return err == nil
}

// RemoveBridge removes a bridge and the links that are its ports. None is no
// error.
func RemoveBridge(name string) error {
	ports, err := os.ReadDir(filepath.Join("/sys/class/net", name, "brif"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list the ports of bridge %s: %w", name, err)
	}
	var failed error
	for _, port := range ports {
		// The kernel removes a port by itself when its namespace goes.
		if err := IP("link", "delete", port.Name()); err != nil && LinkExists(port.Name()) {
			failed = errors.Join(failed, err)
		}
	}
	if LinkExists(name) {
		failed = errors.Join(failed, IP("link", "delete", name))
	}
	return failed
}

// Overlap is the name and network of a link, other than the one called except,
// whose network shares addresses with one of the prefixes; empty where there is
// none.
func Overlap(except string, prefixes ...netip.Prefix) (string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list network links: %w", err)
	}
	for _, link := range links {
		if link.Name == except {
			continue
		}
		addresses, err := link.Addrs()
		if err != nil {
			continue // removed meanwhile
		}
		for _, address := range addresses {
			network, err := netip.ParsePrefix(address.String())
			if err != nil {
				continue
			}
			for _, prefix := range prefixes {
				if prefix.Overlaps(network.Masked()) {
					return fmt.Sprintf("%s (%s)", link.Name, network), nil
				}
			}
		}
	}
	return "", nil
}
