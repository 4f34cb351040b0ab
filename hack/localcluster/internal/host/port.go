package host

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Listener is a socket that waits for connections or datagrams.
type Listener struct {
	// Network is "tcp" or "udp".
	Network string
	// Address is where it listens; unspecified for all addresses.
	Address netip.AddrPort
	inode   string
}

// Takes tells whether the listener keeps another one from listening on address.
func (l Listener) Takes(network string, address netip.AddrPort) bool {
	return l.Network == network && l.Address.Port() == address.Port() &&
		(l.Address.Addr().IsUnspecified() || address.Addr().IsUnspecified() || l.Address.Addr() == address.Addr())
}

// Owner describes the process that holds the listener, such as
// "dnsmasq (pid 812)", and tells whether one was found: a process of another
// namespace can't be seen, and one that is being cleared away has let go.
func (l Listener) Owner() (description string, found bool) {
	want := "socket:[" + l.inode + "]"
	links, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != want {
			continue
		}
		pid := strings.Split(link, "/")[2]
		name, _ := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid), true
	}
	return "a process that can't be seen from here", false
}

// Listeners are the TCP and UDP listeners of this network namespace.
func Listeners() ([]Listener, error) {
	var found []Listener
	for _, network := range []string{"tcp", "tcp6", "udp", "udp6"} {
		file, err := os.Open(filepath.Join("/proc/net", network))
		if os.IsNotExist(err) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list listeners: %w", err)
		}
		here, err := parseListeners(file, network[:3])
		_ = file.Close()
		if err != nil {
			return nil, fmt.Errorf("list listeners: %w", err)
		}
		found = append(found, here...)
	}
	return found, nil
}

// parseListeners reads the format of /proc/net/tcp, proc_net(5). State 0A is a
// listening TCP socket, 07 an unconnected UDP one.
func parseListeners(r io.Reader, network string) ([]Listener, error) {
	state := map[string]string{"tcp": "0A", "udp": "07"}[network]
	var found []Listener
	lines := bufio.NewScanner(r)
	lines.Scan() // the heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			return nil, fmt.Errorf("line %q has an unknown form", lines.Text())
		}
		if fields[3] != state {
			continue
		}
		address, err := parseSocketAddress(fields[1])
		if err != nil {
			return nil, err
		}
		found = append(found, Listener{Network: network, Address: address, inode: fields[9]})
	}
	return found, lines.Err()
}

// parseSocketAddress reads "0100007F:1F90": 32-bit words in the machine's byte
// order, which is little-endian wherever this runs, then the port.
func parseSocketAddress(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	number, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("socket address %q has an unknown form", text)
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	address, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("socket address %q has an unknown form", text)
	}
	return netip.AddrPortFrom(address.Unmap(), uint16(number)), nil
}
