package apikeys

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// one is the content of a file with a key; more is what follows its hash, such as
// `,"rate":1`.
func one(name, key, more string) string {
	return fmt.Sprintf(`{"keys":[{"name":%q,"sha256":%q%s}]}`, name, hashOf(key), more)
}

func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, content string) *Keys {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.json")
	write(t, file, content)
	keys, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (k *Keys) with(key string, now time.Time) (string, error) {
	return check(k, []string{"Bearer " + key}, now)
}

func TestAGeneratedKeyIsLetThroughByItsHash(t *testing.T) {
	key, hash := Generate()
	if !regexp.MustCompile(`^hr_[A-Za-z0-9_-]{43}$`).MatchString(key) {
		t.Errorf("the key is %q", key)
	}
	if hash != hashOf(key) {
		t.Errorf("the hash is %q, want %q", hash, hashOf(key))
	}
	if another, _ := Generate(); another == key {
		t.Error("two keys are the same")
	}
	keys := open(t, `{"keys":[{"name":"web","sha256":"`+strings.ToUpper(hash)+`"}]}`)
	if name, err := keys.with(key, start); name != "web" || err != nil {
		t.Errorf("got %q, %v", name, err)
	}
}

func TestTheHeaderDecidesWhoAsks(t *testing.T) {
	longest := strings.Repeat("x", 256)
	keys := open(t, fmt.Sprintf(`{"keys":[{"name":"web","sha256":%q},{"name":"batch","sha256":%q},{"name":"long","sha256":%q},{"name":"longer","sha256":%q},{"name":"nothing","sha256":%q}]}`,
		hashOf("one"), hashOf("two"), hashOf(longest), hashOf(longest+"x"), hashOf("")))
	for name, test := range map[string]struct {
		authorization []string
		name          string
		err           error
	}{
		"the first key":                 {[]string{"Bearer one"}, "web", nil},
		"the second key":                {[]string{"Bearer two"}, "batch", nil},
		"another case of the scheme":    {[]string{"bEARER one"}, "web", nil},
		"several spaces":                {[]string{"Bearer   one "}, "web", nil},
		"the longest key":               {[]string{"Bearer " + longest}, "long", nil},
		"a key that is too long":        {[]string{"Bearer " + longest + "x"}, "", ErrUnknown},
		"another key":                   {[]string{"Bearer three"}, "", ErrUnknown},
		"another case of the key":       {[]string{"Bearer ONE"}, "", ErrUnknown},
		"the beginning of a key":        {[]string{"Bearer on"}, "", ErrUnknown},
		"the hash instead of its key":   {[]string{"Bearer " + hashOf("one")}, "", ErrUnknown},
		"two keys in one value":         {[]string{"Bearer one, Bearer two"}, "", ErrUnknown},
		"no header":                     {nil, "", ErrMissing},
		"an empty header":               {[]string{""}, "", ErrMissing},
		"two headers":                   {[]string{"Bearer one", "Bearer one"}, "", ErrMissing},
		"another scheme":                {[]string{"Basic one"}, "", ErrMissing},
		"only a key":                    {[]string{"one"}, "", ErrMissing},
		"only the scheme":               {[]string{"Bearer"}, "", ErrMissing},
		"only the scheme and a space":   {[]string{"Bearer "}, "", ErrMissing},
		"a tab between scheme and key":  {[]string{"Bearer\tone"}, "", ErrMissing},
		"the scheme stuck to the key":   {[]string{"Bearerone"}, "", ErrMissing},
		"a key before the right scheme": {[]string{"one Bearer"}, "", ErrMissing},
	} {
		t.Run(name, func(t *testing.T) {
			name, err := check(keys, test.authorization, start)
			if name != test.name || !errors.Is(err, test.err) {
				t.Errorf("got %q, %v, want %q, %v", name, err, test.name, test.err)
			}
		})
	}
}

func TestABurstIsLetThroughAndThenTheRate(t *testing.T) {
	for name, test := range map[string]struct {
		more  string
		rate  float64
		burst int
		after time.Duration
	}{
		"a burst of its own":         {`,"rate":4,"burst":10`, 4, 10, 250 * time.Millisecond},
		"the burst of a whole rate":  {`,"rate":5`, 5, 5, 200 * time.Millisecond},
		"the burst of part of one":   {`,"rate":2.5`, 2.5, 3, 400 * time.Millisecond},
		"the burst of less than one": {`,"rate":0.01`, 0.01, 1, 100 * time.Second},
		"a rate that never comes":    {`,"rate":1e-300`, 1e-300, 1, math.MaxInt64},
		"a time that ends in a part": {`,"rate":3,"burst":1`, 3, 1, 333333334},
		"the highest rate and burst": {`,"rate":1e6,"burst":1e6`, 1e6, 1e6, time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			keys := open(t, one("web", "one", test.more))
			for i := range test.burst {
				if name, err := keys.with("one", start); name != "web" || err != nil {
					t.Fatalf("request %d of the burst: %q, %v", i, name, err)
				}
			}
			// What is refused takes nothing.
			for range 100 {
				name, err := keys.with("one", start)
				limited, ok := errors.AsType[*LimitedError](err)
				if want := (LimitedError{"web", test.rate, test.after}); name != "web" || !ok || *limited != want {
					t.Fatalf("got %q, %#v, want %#v", name, err, want)
				}
			}
			if test.after == math.MaxInt64 {
				return
			}
			if _, err := keys.with("one", start.Add(test.after-time.Duration(min(2, test.after/2)))); err == nil {
				t.Error("let through too early")
			}
			if _, err := keys.with("one", start.Add(test.after)); err != nil {
				t.Errorf("refused when its time had come: %v", err)
			}
		})
	}
}

func TestTheErrorOfALimitSaysWhatIsAllowed(t *testing.T) {
	err := &LimitedError{Name: "web", Rate: 2.5, RetryAfter: 400 * time.Millisecond}
	if want := `the API key "web" is above its rate of 2.5 requests per second; the next is let through in 400ms`; err.Error() != want {
		t.Errorf("got %s", err)
	}
}

func TestWithoutARateThereIsNoLimit(t *testing.T) {
	keys := open(t, one("web", "one", ""))
	for range 10_000 {
		if _, err := keys.with("one", start); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEachKeyHasItsOwnRate(t *testing.T) {
	keys := open(t, fmt.Sprintf(`{"keys":[{"name":"a","sha256":%q,"rate":1},{"name":"b","sha256":%q,"rate":1}]}`, hashOf("one"), hashOf("two")))
	for _, key := range []string{"one", "two"} {
		if _, err := keys.with(key, start); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		if _, err := keys.with(key, start); err == nil {
			t.Errorf("%s has no limit", key)
		}
	}
}

// Else a request that is slow to arrive could let others through.
func TestTimesOutOfOrderGiveNothing(t *testing.T) {
	keys := open(t, one("web", "one", `,"rate":1,"burst":2`))
	if _, err := keys.with("one", start.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.with("one", start); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.with("one", start.Add(time.Minute)); err == nil {
		t.Error("the minute counts twice")
	}
}

func TestManyAtOnceGetTheBurstAndNoMore(t *testing.T) {
	keys := open(t, one("web", "one", `,"rate":1,"burst":100`))
	content, err := read(keys.file)
	if err != nil {
		t.Fatal(err)
	}
	var through atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if _, err := keys.with("one", start); err == nil {
					through.Add(1)
				}
			}
		})
	}
	all.Go(func() {
		for range 100 {
			if _, err := keys.install(content); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	if n := through.Load(); n != 100 {
		t.Errorf("%d let through, want 100", n)
	}
}

// diary is a log that can be read while it is written.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

// take is what was written since the last take.
func (d *diary) take() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.text.Reset()
	return d.text.String()
}

func TestFollowKeepsTheLastGoodKeys(t *testing.T) {
	const every = 10 * time.Second
	synctest.Test(t, func(t *testing.T) {
		keys := open(t, one("web", "one", ""))
		var said diary
		go keys.Follow(t.Context(), every, slog.New(slog.NewTextHandler(&said, nil)))
		for _, step := range []struct {
			what    string
			content string // empty removes the file
			name    string // of the key "one"; empty is unknown
			log     string // what the line has; empty is no line
		}{
			{"the same", one("web", "one", ""), "web", ""},
			{"another name", one("www", "one", ""), "www", "level=INFO msg=\"API keys read\" file=" + keys.file + " keys=1\n"},
			{"the same again", one("www", "one", ""), "www", ""},
			{"no file", "", "www", "level=ERROR msg=\"API keys can't be read; the last good ones stay in force\" error=\"open " + keys.file},
			{"still none", "", "www", ""},
			{"a bad one", `{"keys":[]}`, "www", ""},
			{"what was there before", one("www", "one", ""), "www", "level=INFO msg=\"API keys read\" file=" + keys.file + " keys=1\n"},
			{"and stays", one("www", "one", ""), "www", ""},
			{"a bad one again", `{"keys":[]}`, "www", "level=ERROR msg=\"API keys can't be read; the last good ones stay in force\" error=\"" + keys.file + ": keys is a list of 0; allowed: a list of 1 to 10000 keys\"\n"},
			{"two others", fmt.Sprintf(`{"keys":[{"name":"a","sha256":%q},{"name":"b","sha256":%q}]}`, hashOf("two"), hashOf("three")), "", "level=INFO msg=\"API keys read\" file=" + keys.file + " keys=2\n"},
		} {
			if step.content == "" {
				_ = os.Remove(keys.file)
			} else {
				write(t, keys.file, step.content)
			}
			time.Sleep(every)
			synctest.Wait()
			name, err := keys.with("one", start)
			if name != step.name || (err == nil) != (step.name != "") {
				t.Errorf("%s: got %q, %v, want %q", step.what, name, err, step.name)
			}
			wrote := said.take()
			lines := strings.Count(wrote, "\n")
			if !strings.Contains(wrote, step.log) || (lines == 1) != (step.log != "") || lines > 1 {
				t.Errorf("%s: the log has %q, want %q", step.what, wrote, step.log)
			}
		}
	})
}

// Links as the kubelet makes them, to files of one size and one time.
func TestFollowSeesASwappedLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		link := func(target, name string) {
			t.Helper()
			if err := os.Symlink(target, filepath.Join(dir, "new")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		for version, key := range map[string]string{"..1": "one", "..2": "two"} {
			if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, version, "keys.json")
			write(t, file, one("web", key, ""))
			if err := os.Chtimes(file, start, start); err != nil {
				t.Fatal(err)
			}
		}
		link("..1", "..data")
		link(filepath.Join("..data", "keys.json"), "keys.json")
		keys, err := Open(filepath.Join(dir, "keys.json"))
		if err != nil {
			t.Fatal(err)
		}
		go keys.Follow(t.Context(), time.Second, slog.New(slog.DiscardHandler))
		link("..2", "..data")
		time.Sleep(time.Second)
		synctest.Wait()
		if _, err := keys.with("one", start); err == nil {
			t.Error("the old key is still in force")
		}
		if _, err := keys.with("two", start); err != nil {
			t.Errorf("the new key: %v", err)
		}
	})
}

func TestAnUnchangedKeyKeepsWhatItHasUsed(t *testing.T) {
	for name, test := range map[string]struct {
		content string
		kept    bool
	}{
		"another key beside it": {strings.Replace(one("web", "one", `,"rate":1,"burst":2`), `[`, `[{"name":"b","sha256":"`+hashOf("two")+`"},`, 1), true},
		"written otherwise":     {`{ "keys": [ {"burst": 2.0, "rate": 1e0, "name": "web", "sha256": "` + strings.ToUpper(hashOf("one")) + `"} ] }`, true},
		"another name":          {one("www", "one", `,"rate":1,"burst":2`), false},
		"another rate":          {one("web", "one", `,"rate":1.5,"burst":2`), false},
		"another burst":         {one("web", "one", `,"rate":1,"burst":3`), false},
		"no rate any more":      {one("web", "one", ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			keys := open(t, one("web", "one", `,"rate":1,"burst":2`))
			for range 2 {
				if _, err := keys.with("one", start); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := keys.install([]byte(test.content)); err != nil {
				t.Fatal(err)
			}
			if _, err := keys.with("one", start); (err != nil) != test.kept {
				t.Errorf("then %v; it should keep what it has used: %v", err, test.kept)
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	key, hash := Generate()
	keys := open(b, `{"keys":[{"name":"web","sha256":"`+hash+`","rate":1e6}]}`)
	authorization := []string{"Bearer " + key}
	for b.Loop() {
		_, _ = check(keys, authorization, time.Now())
	}
}

// check is what becomes of a request: whose it is, and why it is refused.
func check(k *Keys, authorization []string, now time.Time) (name string, err error) {
	caller, err := k.Identify(authorization)
	if err != nil {
		return caller.Name, err
	}
	return caller.Name, caller.Take(now)
}
