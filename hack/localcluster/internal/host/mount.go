package host

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Mounts are the mount points at or below the directories, deepest last as the
// kernel lists them.
func Mounts(directories ...string) ([]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer func() { _ = file.Close() }()
	mounts, err := parseMounts(file)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, mount := range mounts {
		if slices.ContainsFunc(directories, func(dir string) bool { return within(mount.point, dir) }) {
			found = append(found, mount.point)
		}
	}
	return found, nil
}

// Unmount detaches every mount at or below the directories.
func Unmount(directories ...string) error {
	points, err := Mounts(directories...)
	if err != nil {
		return err
	}
	var failed error
	for _, point := range slices.Backward(points) {
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
			failed = errors.Join(failed, fmt.Errorf("unmount %s: %w", point, err))
		}
	}
	return failed
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

type mount struct {
	point, kind, options string
}

// parseMounts reads the format of /proc/self/mountinfo, proc_pid_mountinfo(5).
func parseMounts(r io.Reader) ([]mount, error) {
	var mounts []mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		dash := slices.Index(fields, "-")
		if dash < 6 || len(fields) < dash+4 {
			return nil, fmt.Errorf("mount table line %q has an unknown form", lines.Text())
		}
		mounts = append(mounts, mount{point: unescape(fields[4]), kind: fields[dash+1], options: fields[dash+3]})
	}
	return mounts, lines.Err()
}

// unescape resolves the octal escapes that the kernel writes for blanks.
func unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if code, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}
