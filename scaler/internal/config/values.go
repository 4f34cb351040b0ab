package config

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A setter takes a key's value where it is good, and says what is allowed.
type setter = func(value string) (allowed string, ok bool)

func duration(to *time.Duration, least, most time.Duration) setter {
	example := "500ms or 2s"
	if least >= time.Minute {
		example = "90s or 12h"
	}
	return func(s string) (string, bool) {
		allowed := fmt.Sprintf("a duration from %s to %s, such as %s", least, most, example)
		d, err := time.ParseDuration(s)
		if err != nil || d < least || d > most {
			return allowed, false
		}
		*to = d
		return allowed, true
	}
}

func integer(to *int, least, most int) setter {
	return func(s string) (string, bool) {
		allowed := fmt.Sprintf("a whole number from %d to %d", least, most)
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return allowed, false
		}
		*to = n
		return allowed, true
	}
}

func number(to *float64, least, most float64) setter {
	return func(s string) (string, bool) {
		allowed := fmt.Sprintf("a number from %g to %g", least, most)
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || !(x >= least && x <= most) {
			return allowed, false
		}
		*to = x
		return allowed, true
	}
}

func boolean(to *bool) setter {
	return func(s string) (string, bool) {
		if s != "true" && s != "false" {
			return "true or false", false
		}
		*to = s == "true"
		return "", true
	}
}

func oneOf[T ~string](to *T, values ...T) setter {
	return func(s string) (string, bool) {
		if !slices.Contains(values, T(s)) {
			names := make([]string, len(values))
			for i, v := range values {
				names[i] = string(v)
			}
			return strings.Join(names, " or "), false
		}
		*to = T(s)
		return "", true
	}
}

// text is a string of a form that a pattern tells and words describe.
func text(to *string, most int, pattern *regexp.Regexp, allowed string) setter {
	return func(s string) (string, bool) {
		if len(s) > most || !pattern.MatchString(s) {
			return allowed, false
		}
		*to = s
		return allowed, true
	}
}

var (
	// label is RFC 1123's, as Kubernetes wants it for the names used here.
	label       = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	camelCase   = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	groupPrefix = `([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?`
	version     = regexp.MustCompile(`^` + groupPrefix + `v[0-9]+((alpha|beta)[0-9]+)?$`)
)

func name(to *string) setter {
	return text(to, 63, label, "1 to 63 of a-z, 0-9 and -, with no - at either end")
}

func kind(to *string) setter {
	return text(to, 63, camelCase, "a kind such as Deployment or StatefulSet")
}

func apiVersion(to *string) setter {
	return text(to, 253, version, "a group and version such as apps/v1")
}

// orNothing allows what another setter does, and an empty string.
func orNothing(to *string, of func(*string) setter) setter {
	set := of(to)
	return func(s string) (string, bool) {
		allowed, ok := set(s)
		if s == "" {
			*to, ok = "", true
		}
		return allowed + ", or nothing", ok
	}
}

func webURL(to *string) setter {
	const allowed = "a URL such as http://prometheus:9090"
	return func(s string) (string, bool) {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
			return allowed, false
		}
		*to = s
		return allowed, true
	}
}

func address(to *string) setter {
	return func(s string) (string, bool) {
		_, port, err := net.SplitHostPort(s)
		if _, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil {
			return "host:port or :port, with a port from 0 (any free one) to 65535", false
		}
		*to = s
		return "", true
	}
}
