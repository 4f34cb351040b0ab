// Package apikeys tells callers apart by API keys, and holds each to its rate.
//
// The keys are in a file, as a Kubernetes Secret is mounted:
//
//	{"keys":[{"name":"web","sha256":"64 hex digits","rate":50,"burst":100}]}
//
// name is 1 to 63 of a-z, 0-9 and "-". sha256 is the hash of the key. rate is how
// many requests a second one dispatcher lets through, above 0 up to 1e6; without
// it there is no limit. burst is how many may come at once, a whole number of 1 to
// 1e6, and by default what comes in a second. No two keys share a name or a hash.
//
// One SHA-256 is the right hash: a key is 256 random bits, which nobody guesses,
// however fast the hash. A slow hash is for passwords, and every request would pay
// for it.
package apikeys

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// maxPresented is the longest key, in bytes, that is hashed; Generate's have 46.
const maxPresented = 256

// ErrMissing is the error of a request without exactly one bearer token.
var ErrMissing = errors.New(`the header Authorization must be given once, as "Bearer" and an API key`)

// ErrUnknown is the error of a request whose key is none of those in force.
var ErrUnknown = errors.New("the API key is not known")

// LimitedError is the error of a request above its key's rate.
type LimitedError struct {
	// Name is the key's name.
	Name string
	// Rate is what the key may do, in requests per second.
	Rate float64
	// RetryAfter is the time, above 0, until the key's next request is let
	// through, if no other comes first.
	RetryAfter time.Duration
}

func (e *LimitedError) Error() string {
	return fmt.Sprintf("the API key %q is above its rate of %v requests per second; the next is let through in %v", e.Name, e.Rate, e.RetryAfter)
}

// Generate makes a key, "hr_" and 43 characters of base64url, and its hash, 64 hex
// digits for the file.
func Generate() (key, hash string) {
	var secret [32]byte
	rand.Read(secret[:])
	key = "hr_" + base64.RawURLEncoding.EncodeToString(secret[:])
	digest := sha256.Sum256([]byte(key))
	return key, hex.EncodeToString(digest[:])
}

type digest = [sha256.Size]byte

// setting is what the file says of one key.
type setting struct {
	name   string
	digest digest
	rate   float64 // requests per second; 0 is no limit
	burst  int
}

// entry is a key in force.
type entry struct {
	setting
	bucket *bucket // nil without a limit
}

// Keys are the keys in force. Its methods may be called at the same time.
type Keys struct {
	file    string
	entries atomic.Pointer[map[digest]entry]
	seen    digest // the hash of the file's content; Follow's once it runs
}

// Open reads the keys from a file. The error names the file and, where there is
// one, the key, the field, what it is and what is allowed; never a hash.
func Open(file string) (*Keys, error) {
	k := &Keys{file: file}
	content, err := read(file)
	if err == nil {
		_, err = k.install(content)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// install puts the keys of the file's content in force and returns how many there
// are.
func (k *Keys) install(content []byte) (int, error) {
	settings, err := parse(content)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", k.file, err)
	}
	var old map[digest]entry
	if p := k.entries.Load(); p != nil {
		old = *p
	}
	entries := make(map[digest]entry, len(settings))
	for _, s := range settings {
		e, known := old[s.digest]
		if !known || e.setting != s {
			e = entry{setting: s}
			if s.rate > 0 {
				e.bucket = &bucket{limiter: rate.NewLimiter(rate.Limit(s.rate), s.burst)}
			}
		}
		entries[s.digest] = e
	}
	k.entries.Store(&entries)
	k.seen = sha256.Sum256(content)
	return len(entries), nil
}

// Follow looks at the file every so often, above 0, until ctx ends, and puts what
// it then holds in force. Keys that stay as they are keep what they have used of
// their rate. A file that is gone or bad changes nothing; it is logged once, and
// once more when it is good again. One Follow may run for Keys.
func (k *Keys) Follow(ctx context.Context, every time.Duration, log *slog.Logger) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	bad := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// By content: Kubernetes swaps a link, and the file's time tells nothing.
		content, err := read(k.file)
		if err == nil && !bad && sha256.Sum256(content) == k.seen {
			continue
		}
		n := 0
		if err == nil {
			n, err = k.install(content)
		}
		switch {
		case err == nil:
			log.Info("API keys read", "file", k.file, "keys", n)
		case !bad:
			log.Error("API keys can't be read; the last good ones stay in force", "error", err.Error())
		}
		bad = err != nil
	}
}

// Caller is who has a key.
type Caller struct {
	// Name is the key's; empty for nobody.
	Name string

	entry entry
}

// Identify says whose key a request has, or why it is nobody's: ErrMissing or
// ErrUnknown. authorization is the values of its header Authorization; it must be
// one, "Bearer" in any case and the key (RFC 6750).
func (k *Keys) Identify(authorization []string) (Caller, error) {
	if len(authorization) != 1 {
		return Caller{}, ErrMissing
	}
	scheme, key, _ := strings.Cut(authorization[0], " ")
	key = strings.Trim(key, " ")
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		return Caller{}, ErrMissing
	}
	if len(key) > maxPresented {
		return Caller{}, ErrUnknown
	}
	// The map's lookup takes a time that may depend on how much the digest looks
	// like a stored one. That helps nobody: a caller can't steer the digest of what
	// is sent, and even a digest known in whole leads to no key. What is found is
	// compared in constant time all the same.
	presented := sha256.Sum256([]byte(key))
	e, known := (*k.entries.Load())[presented]
	if !known || subtle.ConstantTimeCompare(presented[:], e.digest[:]) != 1 {
		return Caller{}, ErrUnknown
	}
	return Caller{Name: e.name, entry: e}, nil
}

// Take lets a request of the caller through or says, with a *LimitedError, that
// there are too many. Only what is let through counts against the rate.
func (c Caller) Take(now time.Time) error {
	if c.entry.bucket == nil {
		return nil
	}
	if wait := c.entry.bucket.take(now); wait > 0 {
		return &LimitedError{Name: c.Name, Rate: c.entry.rate, RetryAfter: wait}
	}
	return nil
}

// bucket is a rate.Limiter for callers whose times are out of order: the limiter
// itself would count the time between two of them more than once.
type bucket struct {
	mu      sync.Mutex
	limiter *rate.Limiter
	latest  time.Time
}

// take takes a token, or takes none and returns the time until there is one.
func (b *bucket) take(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.After(b.latest) {
		b.latest = now
	}
	if b.limiter.AllowN(b.latest, 1) {
		return 0
	}
	// A reservation would tell too, but can't be given back in whole once others
	// have reserved.
	wait := math.Ceil((1 - b.limiter.TokensAt(b.latest)) / float64(b.limiter.Limit()) * float64(time.Second))
	if wait >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(wait)
}
