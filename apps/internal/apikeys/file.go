package apikeys

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const (
	maxFile  = 1 << 20 // bytes; a Kubernetes Secret holds no more
	maxKeys  = 10_000
	maxRate  = 1e6
	maxBurst = 1e6

	// maxQuoted is how many characters of the file an error repeats: somebody may
	// have put the key itself where it doesn't belong.
	maxQuoted = 12
)

var allowedName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("%s: the file has more than %d bytes, the most that is allowed", file, maxFile)
	}
	return content, nil
}

// parse reads the content of a file of keys.
func parse(content []byte) ([]setting, error) {
	file, err := fields(content, "keys")
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(file["keys"], &list); err != nil || len(list) == 0 || len(list) > maxKeys {
		is := "no list"
		if err == nil {
			is = fmt.Sprintf("a list of %d", len(list))
		}
		return nil, fmt.Errorf("keys is %s; allowed: a list of 1 to %d keys", is, maxKeys)
	}
	settings := make([]setting, 0, len(list))
	names, digests := make(map[string]int, len(list)), make(map[digest]int, len(list))
	for i, text := range list {
		s, err := parseKey(text)
		where := fmt.Sprintf("keys[%d]", i)
		if s.name != "" {
			where += fmt.Sprintf(" (%q)", s.name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		if other, taken := names[s.name]; taken {
			return nil, fmt.Errorf("%s: name is that of keys[%d] too; allowed: one of its own", where, other)
		}
		if other, taken := digests[s.digest]; taken {
			return nil, fmt.Errorf("%s: sha256 is that of keys[%d] (%q) too; allowed: one of its own", where, other, settings[other].name)
		}
		names[s.name], digests[s.digest] = i, i
		settings = append(settings, s)
	}
	return settings, nil
}

// parseKey reads one key; also with an error, a name is a good one.
func parseKey(text []byte) (s setting, err error) {
	key, err := fields(text, "name", "sha256", "rate", "burst")
	if err != nil {
		return s, err
	}
	var name, hash string
	if err := json.Unmarshal(key["name"], &name); err != nil || !allowedName.MatchString(name) {
		return s, fmt.Errorf("name is %s; allowed: 1 to 63 of a-z, 0-9 and -", quote(key["name"]))
	}
	s.name = name
	if err := json.Unmarshal(key["sha256"], &hash); err != nil {
		return s, errors.New("sha256 is no string; allowed: 64 hex digits")
	}
	decoded, err := hex.DecodeString(hash)
	if err != nil || len(decoded) != len(s.digest) {
		return s, fmt.Errorf("sha256 is a string of %d characters that is no hash; allowed: 64 hex digits", len([]rune(hash)))
	}
	s.digest = digest(decoded)
	if key["rate"] == nil {
		if burst := key["burst"]; burst != nil {
			return s, fmt.Errorf("burst is %s without a rate; allowed: only with one", quote(burst))
		}
		return s, nil
	}
	if s.rate, err = strconv.ParseFloat(string(key["rate"]), 64); err != nil || s.rate <= 0 || s.rate > maxRate {
		return s, fmt.Errorf("rate is %s; allowed: a number of requests per second above 0 up to %.0f, or no rate", quote(key["rate"]), maxRate)
	}
	burst := math.Ceil(s.rate)
	if key["burst"] != nil {
		burst, err = strconv.ParseFloat(string(key["burst"]), 64)
	}
	if err != nil || burst < 1 || burst > maxBurst || burst != math.Trunc(burst) {
		return s, fmt.Errorf("burst is %s; allowed: a whole number of requests from 1 to %.0f, or no burst", quote(key["burst"]), maxBurst)
	}
	s.burst = int(burst)
	return s, nil
}

// fields reads a JSON object; unlike a struct's, the names must be in this case.
func fields(text []byte, allowed ...string) (map[string]json.RawMessage, error) {
	var found map[string]json.RawMessage
	err := json.Unmarshal(text, &found)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return nil, fmt.Errorf("this is no JSON: %w; allowed: one object", syntax)
	}
	if err != nil || found == nil {
		return nil, fmt.Errorf("this is no JSON object; allowed: one with %s", strings.Join(allowed, ", "))
	}
	for field := range found {
		if !slices.Contains(allowed, field) {
			return nil, fmt.Errorf("the field %s is unknown; allowed: %s", quote([]byte(strconv.Quote(field))), strings.Join(allowed, ", "))
		}
	}
	return found, nil
}

// quote is a JSON value, cut and on one line; "absent" for none.
func quote(value []byte) string {
	if value == nil {
		return "absent"
	}
	text, end := []rune(string(value)), ""
	if len(text) > maxQuoted {
		text, end = text[:maxQuoted], "..."
	}
	for i, r := range text {
		if !unicode.IsPrint(r) {
			text[i] = ' '
		}
	}
	return string(text) + end
}

// Entry is a key as it stands in the file.
type Entry struct {
	// Name says whose it is.
	Name string `json:"name"`
	// SHA256 is the key's hash, as Generate makes it.
	SHA256 string `json:"sha256"`
	// Rate is requests per second; 0 for no limit.
	Rate float64 `json:"rate,omitempty"`
	// Burst is how many may come at once; 0 for those of one second.
	Burst int `json:"burst,omitempty"`
}

// Check says what a file with e in it would be refused for.
func (e Entry) Check() error {
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("rate is %v; allowed: a number", e.Rate)
	}
	_, err = parseKey(text)
	return err
}
