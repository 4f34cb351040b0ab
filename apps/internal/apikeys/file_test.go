package apikeys

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// many is a list of n good keys.
func many(n int) string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf(`{"name":"%d","sha256":"%064x"}`, i, i)
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

func TestABadFileIsOneClearLine(t *testing.T) {
	hash, other := hashOf("one"), hashOf("two")
	secret, _ := Generate()
	key := func(text string) string { return `{"keys":[{"name":"ok","sha256":"` + other + `"},{` + text + `}]}` }
	good := `"name":"web","sha256":"` + hash + `"`
	const (
		name  = "; allowed: 1 to 63 of a-z, 0-9 and -"
		rate  = "; allowed: a number of requests per second above 0 up to 1000000, or no rate"
		burst = "; allowed: a whole number of requests from 1 to 1000000, or no burst"
		list  = "; allowed: a list of 1 to 10000 keys"
		key1  = `keys[1] ("web"): `
	)
	for what, test := range map[string]struct{ content, want string }{
		"nothing":                        {"", "this is no JSON: unexpected end of JSON input; allowed: one object"},
		"no JSON":                        {"keys: []", "this is no JSON: invalid character 'k' looking for beginning of value; allowed: one object"},
		"a file that is cut off":         {`{"keys":[{` + good, "this is no JSON: unexpected end of JSON input; allowed: one object"},
		"an object that does not end":    {`{"keys":[{` + good + `}]`, "this is no JSON: unexpected end of JSON input; allowed: one object"},
		"a comma too many":               {`{"keys":[{` + good + `}],}`, "this is no JSON: invalid character '}' looking for beginning of object key string; allowed: one object"},
		"a list at the top":              {`[{` + good + `}]`, "this is no JSON object; allowed: one with keys"},
		"null at the top":                {`null`, "this is no JSON object; allowed: one with keys"},
		"two objects":                    {`{"keys":[{` + good + `}]} {}`, "this is no JSON: invalid character '{' after top-level value; allowed: one object"},
		"an unknown field at the top":    {`{"kyes":[]}`, `the field "kyes" is unknown; allowed: keys`},
		"another case of a field":        {`{"Keys":[{` + good + `}]}`, `the field "Keys" is unknown; allowed: keys`},
		"a key as a field":               {`{"` + secret + `":[]}`, `the field ` + secretCut(secret) + ` is unknown; allowed: keys`},
		"no keys":                        {`{}`, "keys is no list" + list},
		"keys that are no list":          {`{"keys":{}}`, "keys is no list" + list},
		"an empty list":                  {`{"keys":[]}`, "keys is a list of 0" + list},
		"keys that are null":             {`{"keys":null}`, "keys is a list of 0" + list},
		"too many keys":                  {many(10_001), "keys is a list of 10001" + list},
		"a key that is no object":        {`{"keys":["` + hash + `"]}`, "keys[0]: this is no JSON object; allowed: one with name, sha256, rate, burst"},
		"a key that is null":             {`{"keys":[null]}`, "keys[0]: this is no JSON object; allowed: one with name, sha256, rate, burst"},
		"an unknown field":               {key(good + `,"limit":5`), `keys[1]: the field "limit" is unknown; allowed: name, sha256, rate, burst`},
		"no name":                        {key(`"sha256":"` + hash + `"`), "keys[1]: name is absent" + name},
		"an empty name":                  {key(`"name":"","sha256":"` + hash + `"`), `keys[1]: name is ""` + name},
		"a name that is null":            {key(`"name":null,"sha256":"` + hash + `"`), "keys[1]: name is null" + name},
		"a name that is a number":        {key(`"name":5,"sha256":"` + hash + `"`), "keys[1]: name is 5" + name},
		"a name in capitals":             {key(`"name":"Web","sha256":"` + hash + `"`), `keys[1]: name is "Web"` + name},
		"a name of two lines":            {key(`"name":"web\n","sha256":"` + hash + `"`), `keys[1]: name is "web\n"` + name},
		"a name of 64":                   {key(`"name":"` + strings.Repeat("a", 64) + `","sha256":"` + hash + `"`), `keys[1]: name is "aaaaaaaaaaa...` + name},
		"the key as its name":            {key(`"name":"` + secret + `","sha256":"` + hash + `"`), "keys[1]: name is " + secretCut(secret) + name},
		"the hash as its name":           {key(`"name":"` + hash + `"`), `keys[1]: name is "` + hash[:11] + "..." + name},
		"a name that is an object":       {key("\"name\":{\n\"a\":\t1}"), `keys[1]: name is { "a": 1}` + name},
		"no hash":                        {key(`"name":"web"`), key1 + "sha256 is no string; allowed: 64 hex digits"},
		"a hash that is a number":        {key(`"name":"web","sha256":5`), key1 + "sha256 is no string; allowed: 64 hex digits"},
		"a hash that is too short":       {key(`"name":"web","sha256":"` + hash[2:] + `"`), key1 + "sha256 is a string of 62 characters that is no hash; allowed: 64 hex digits"},
		"a hash that is too long":        {key(`"name":"web","sha256":"` + hash + `00"`), key1 + "sha256 is a string of 66 characters that is no hash; allowed: 64 hex digits"},
		"a hash that is not hex":         {key(`"name":"web","sha256":"` + hash[1:] + `g"`), key1 + "sha256 is a string of 64 characters that is no hash; allowed: 64 hex digits"},
		"the key as its hash":            {key(`"name":"web","sha256":"` + secret + `"`), key1 + "sha256 is a string of 46 characters that is no hash; allowed: 64 hex digits"},
		"a name that is taken":           {key(`"name":"ok","sha256":"` + hash + `"`), `keys[1] ("ok"): name is that of keys[0] too; allowed: one of its own`},
		"a hash that is taken":           {key(`"name":"web","sha256":"` + strings.ToUpper(other) + `"`), key1 + `sha256 is that of keys[0] ("ok") too; allowed: one of its own`},
		"a rate of 0":                    {key(good + `,"rate":0`), key1 + "rate is 0" + rate},
		"a rate below 0":                 {key(good + `,"rate":-1.5`), key1 + "rate is -1.5" + rate},
		"a rate that rounds to 0":        {key(good + `,"rate":1e-999`), key1 + "rate is 1e-999" + rate},
		"a rate above all":               {key(good + `,"rate":1000000.1`), key1 + "rate is 1000000.1" + rate},
		"a rate that is no finite float": {key(good + `,"rate":1e999`), key1 + "rate is 1e999" + rate},
		"a rate that is a string":        {key(good + `,"rate":"50"`), key1 + `rate is "50"` + rate},
		"a rate that is null":            {key(good + `,"rate":null`), key1 + "rate is null" + rate},
		"the key as its rate":            {key(good + `,"rate":"` + secret + `"`), key1 + "rate is " + secretCut(secret) + rate},
		"a burst without a rate":         {key(good + `,"burst":5`), key1 + "burst is 5 without a rate; allowed: only with one"},
		"a burst of 0":                   {key(good + `,"rate":5,"burst":0`), key1 + "burst is 0" + burst},
		"a burst above all":              {key(good + `,"rate":5,"burst":1000001`), key1 + "burst is 1000001" + burst},
		"a burst that is no whole one":   {key(good + `,"rate":5,"burst":1.5`), key1 + "burst is 1.5" + burst},
		"a burst that is a string":       {key(good + `,"rate":5,"burst":"5"`), key1 + `burst is "5"` + burst},
		"a file that is too large":       {one("web", "one", "") + strings.Repeat(" ", 1<<20), "the file has more than 1048576 bytes, the most that is allowed"},
	} {
		t.Run(what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "keys.json")
			write(t, file, test.content)
			keys, err := Open(file)
			if err == nil || keys != nil || err.Error() != file+": "+test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// secretCut is what an error repeats of a key, with the quote before it.
func secretCut(secret string) string { return `"` + secret[:11] + "..." }

func TestAFileThatCanNotBeReadIsNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.json")
	if _, err := Open(missing); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("a missing file: %v", err)
	}
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a directory: %v", err)
	}
}

func TestTheLargestFileIsRead(t *testing.T) {
	content := many(10_000)
	content += strings.Repeat(" ", 1<<20-len(content))
	keys := open(t, content)
	if n := len(*keys.entries.Load()); n != 10_000 {
		t.Errorf("%d keys", n)
	}
	if info, err := os.Stat(keys.file); err != nil || info.Size() != 1<<20 {
		t.Errorf("the file: %v, %v", info, err)
	}
}

func TestTheFieldsOfAKeyMeanWhatTheySay(t *testing.T) {
	hash := hashOf("one")
	for what, test := range map[string]struct {
		more  string
		rate  float64
		burst int
	}{
		"no limit":                 {"", 0, 0},
		"a rate and a burst":       {`,"rate":50,"burst":100`, 50, 100},
		"a burst below the rate":   {`,"rate":50,"burst":1`, 50, 1},
		"only a rate":              {`,"rate":50`, 50, 50},
		"part of a request":        {`,"rate":0.2`, 0.2, 1},
		"a rate that rounds up":    {`,"rate":1.2`, 1.2, 2},
		"the highest":              {`,"rate":1e6,"burst":1e6`, 1e6, 1e6},
		"the smallest there is":    {`,"rate":5e-324`, math.SmallestNonzeroFloat64, 1},
		"white space all about it": {",\n \"rate\" :\t7 ,\r\n\"burst\" : 9 ", 7, 9},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := parse([]byte(one("web", "one", test.more)))
			if err != nil {
				t.Fatal(err)
			}
			if g := got[0]; len(got) != 1 || g.name != "web" || fmt.Sprintf("%x", g.digest) != hash || g.rate != test.rate || g.burst != test.burst {
				t.Errorf("got %+v", got)
			}
		})
	}
	longest := strings.Repeat("z-9", 21)
	if got, err := parse([]byte(one(longest, "one", ""))); err != nil || got[0].name != longest {
		t.Errorf("the longest name: %v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(one("web", "one", `,"rate":50,"burst":100`)))
	f.Add([]byte(`{"keys":[{"name":"a","sha256":"` + hashOf("a") + `"},{"name":"b","sha256":"` + hashOf("b") + `","rate":1e-9}]}`))
	f.Add([]byte("{\"keys\":[{\"name\":\"\x7f\u2028\"}]}"))
	f.Fuzz(func(t *testing.T, content []byte) {
		settings, err := parse(content)
		if err != nil {
			if text := err.Error(); settings != nil || len(text) > 300 || strings.ContainsAny(text, "\n\r\x7f\u0085\u2028") {
				t.Errorf("the error is %q, with %v", text, settings)
			}
			return
		}
		if len(settings) < 1 || len(settings) > maxKeys {
			t.Errorf("%d keys", len(settings))
		}
		names, digests := map[string]bool{}, map[digest]bool{}
		for _, s := range settings {
			names[s.name], digests[s.digest] = true, true
			limited := s.rate > 0 && s.rate <= maxRate && s.burst >= 1 && s.burst <= maxBurst
			if s.name == "" || len(s.name) > 63 || !limited && (s.rate != 0 || s.burst != 0) {
				t.Errorf("accepted %+v", s)
			}
		}
		if len(names) != len(settings) || len(digests) != len(settings) {
			t.Errorf("accepted what isn't unique: %+v", settings)
		}
	})
}
