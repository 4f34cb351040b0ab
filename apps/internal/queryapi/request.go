package queryapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"headroom.dev/apps/internal/backend"
	"headroom.dev/apps/internal/dispatch"
	"headroom.dev/apps/internal/reply"
)

const (
	// TimeoutHeader is how long a caller waits, as a Go duration.
	TimeoutHeader = "Headroom-Timeout"
	// PriorityHeader is what goes first: low, normal or high.
	PriorityHeader = backend.PriorityHeader
	// IdempotencyHeader names a request that may be sent again.
	IdempotencyHeader = "Idempotency-Key"
)

const (
	// MinTimeout is the shortest time that a caller may wait.
	MinTimeout = time.Millisecond
	// MaxTimeout is the longest time that a synchronous caller may wait.
	MaxTimeout = time.Minute
	// maxIdempotencyKey is the longest key, in bytes.
	maxIdempotencyKey = 255
)

// asked is what a request's headers ask for.
type asked struct {
	// id is the caller's id, or a new one; empty where the caller's is wrong.
	id string
	// async says that the answer is fetched later.
	async bool
	// resultID is the id of the result that is kept; empty where none is.
	resultID string
	priority dispatch.Priority
	timeout  time.Duration
	// chosen says that the caller has chosen the timeout.
	chosen bool
}

// read reads a request's headers. The error is for its caller.
func (c *Config) read(h http.Header) (a asked, err error) {
	a.async = prefersAsync(h)
	if a.id, err = requestID(h); err != nil {
		return a, err
	}
	if a.resultID, err = resultID(h, a); err != nil {
		return a, err
	}
	if a.priority, err = priority(h, a.async); err != nil {
		return a, err
	}
	a.timeout, err = c.timeout(h, a.async)
	a.chosen = h.Get(TimeoutHeader) != ""
	return a, err
}

// requestID is the caller's id, or a new one.
func requestID(h http.Header) (string, error) {
	if len(h.Values(reply.IDHeader)) == 0 {
		return uuid.NewString(), nil
	}
	id := h.Get(reply.IDHeader)
	if err := reply.CheckID(id); err != nil {
		return "", err
	}
	if id == "." || id == ".." {
		return "", fmt.Errorf("%s %q can't be part of a path", reply.IDHeader, id)
	}
	return id, nil
}

// resultID is where the answer is kept of a request that is asynchronous or may
// be sent again. What is sent again has the same one.
func resultID(h http.Header, a asked) (string, error) {
	keys := h.Values(IdempotencyHeader)
	switch {
	case len(keys) == 0 && !a.async:
		return "", nil
	case len(keys) == 0:
		return a.id, nil
	case len(keys) > 1:
		return "", fmt.Errorf("%s is there %d times; once is allowed", IdempotencyHeader, len(keys))
	}
	key := keys[0]
	if key == "" || len(key) > maxIdempotencyKey || strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return "", fmt.Errorf("%s %s is not allowed: 1 to %d printable ASCII characters are", IdempotencyHeader, reply.Quote(key), maxIdempotencyKey)
	}
	hash := sha256.Sum256([]byte(key))
	return "key-" + hex.EncodeToString(hash[:16]), nil
}

func priority(h http.Header, async bool) (dispatch.Priority, error) {
	text := h.Get(PriorityHeader)
	if text == "" {
		if async {
			return dispatch.Low, nil
		}
		return dispatch.Normal, nil
	}
	p, err := dispatch.ParsePriority(text)
	if err != nil {
		return p, fmt.Errorf("%s %s is none of low, normal and high", PriorityHeader, reply.Quote(text))
	}
	return p, nil
}

func (c *Config) timeout(h http.Header, async bool) (time.Duration, error) {
	usual, most := c.SLO, MaxTimeout
	if async {
		usual, most = c.AsyncTimeout, c.AsyncTimeout
	}
	text := h.Get(TimeoutHeader)
	if text == "" {
		return usual, nil
	}
	timeout, err := time.ParseDuration(text)
	if err != nil || timeout < MinTimeout || timeout > most {
		return 0, fmt.Errorf("%s %s is not a duration from %v to %v such as 300ms", TimeoutHeader, reply.Quote(text), MinTimeout, most)
	}
	return timeout, nil
}

// prefersAsync reads the Prefer header (RFC 7240).
func prefersAsync(h http.Header) bool {
	return slices.ContainsFunc(h.Values("Prefer"), func(line string) bool {
		return slices.ContainsFunc(strings.Split(line, ","), func(preference string) bool {
			name, _, _ := strings.Cut(preference, ";")
			return strings.EqualFold(strings.TrimSpace(name), "respond-async")
		})
	})
}

// maxContentType bounds what is kept of a picture's type.
const maxContentType = 64

// pictureType is what a request says of the picture that is its body; empty
// where it says nothing, or has the picture inside something else.
func pictureType(h http.Header) string {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || !strings.HasPrefix(media, "image/") || len(media) > maxContentType {
		return ""
	}
	return media
}
