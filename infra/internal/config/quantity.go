package config

import (
	"math"
	"regexp"
	"strconv"
)

var (
	cpuQuantity    = regexp.MustCompile(`^([0-9]{1,6})(?:(m)|\.([0-9]{1,3}))?$`)
	memoryQuantity = regexp.MustCompile(`^([0-9]{1,12})(Ki|Mi|Gi|k|M|G)?$`)
	redisQuantity  = regexp.MustCompile(`^([0-9]{1,12})(kb|mb|gb)$`)
)

var unitBytes = map[string]int64{
	"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30,
	"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30,
}

// cpuMillis reads CPU cores as Kubernetes writes them, 250m or 1.5, in
// thousandths of a core.
func cpuMillis(s string) (int64, bool) {
	parts := cpuQuantity.FindStringSubmatch(s)
	if parts == nil {
		return 0, false
	}
	if parts[2] == "m" {
		millis, err := strconv.ParseInt(parts[1], 10, 64)
		return millis, err == nil
	}
	cores, err := strconv.ParseFloat(s, 64)
	return int64(math.Round(cores * 1000)), err == nil
}

// memoryBytes reads memory as Kubernetes writes it: whole numbers of bytes, k,
// M, G (powers of 1000) or Ki, Mi, Gi (powers of 1024).
func memoryBytes(s string) (int64, bool) { return bytesOf(memoryQuantity, s) }

// redisBytes reads memory as redis.conf writes it: kb, mb, gb are powers of 1024.
func redisBytes(s string) (int64, bool) { return bytesOf(redisQuantity, s) }

func bytesOf(quantity *regexp.Regexp, s string) (int64, bool) {
	parts := quantity.FindStringSubmatch(s)
	if parts == nil {
		return 0, false
	}
	number, err := strconv.ParseInt(parts[1], 10, 64)
	unit := unitBytes[parts[2]]
	if err != nil || number > math.MaxInt64/unit {
		return 0, false
	}
	return number * unit, true
}
