package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"headroom.dev/apps/internal/command"
	"headroom.dev/apps/internal/dispatchtest"
)

// output runs the program to its end.
func output(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := program(t, args...)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	_ = cmd.Run()
	return out.String(), errors.String(), cmd.ProcessState.ExitCode()
}

func TestDeadLettersAreListedAndDrivenAgain(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	replica := dispatchtest.StartReplica(t, dispatchtest.Die)
	p := launch(t, redis.URL(), "--backends", replica.URL)
	p.ready(t)
	command := func(args ...string) string {
		t.Helper()
		stdout, stderr, code := output(t, append([]string{"dead-letters", "--redis", redis.URL()}, args...)...)
		if code != 0 {
			t.Fatalf("%v: %d %s", args, code, stderr)
		}
		return stdout
	}
	if got := command("list"); got != "there are no dead letters\n" {
		t.Errorf("list: %q", got)
	}
	var locations []string
	for _, id := range []string{"first", "second", "third"} {
		status, header, body := p.do(http.MethodPost, "/query", map[string]string{"Prefer": "respond-async", "X-Request-Id": id})
		if status != http.StatusAccepted {
			t.Fatalf("answered %d %s", status, body)
		}
		locations = append(locations, header.Get("Location"))
		if status, _, body := p.do(http.MethodGet, locations[len(locations)-1]+"?wait=30s", nil); status != http.StatusBadGateway {
			t.Fatalf("a request that ends model servers has %d %s", status, body)
		}
	}
	if n := len(replica.Served()); n != 9 {
		t.Errorf("tried %d times, want three times each", n)
	}
	table := strings.Split(strings.TrimSpace(command("list")), "\n")
	if len(table) != 4 || !regexp.MustCompile(`^ID +GIVEN UP +REQUEST +MODE +DELIVERIES +BYTES +REASON$`).MatchString(table[0]) ||
		!regexp.MustCompile(`^\d+-\d+ +20\S+ \S+ +first +async +1 +7 +3 attempts failed, the last one because .+$`).MatchString(table[1]) {
		t.Errorf("list:\n%s", strings.Join(table, "\n"))
	}
	var letter struct {
		ID     string
		Bytes  int    `json:"picture_bytes"`
		Name   string `json:"request_id"`
		Reason string
	}
	if err := json.Unmarshal([]byte(strings.Split(command("list", "--json"), "\n")[0]), &letter); err != nil || letter.Name != "first" || letter.Bytes != 7 {
		t.Fatalf("list --json: %+v, %v", letter, err)
	}

	replica.Answer(dispatchtest.Predict)
	if got := command("redrive", letter.ID); got != letter.ID+" queued again: /result/first\n" {
		t.Errorf("redrive: %q", got)
	}
	if status, _, body := p.do(http.MethodGet, locations[0]+"?wait=30s", nil); status != http.StatusOK {
		t.Errorf("driven again: %d %s", status, body)
	}
	if status, _, body := p.do(http.MethodPost, "/query", map[string]string{"Prefer": "respond-async", "X-Request-Id": "second"}); status != http.StatusAccepted {
		t.Fatalf("sent again: %d %s", status, body)
	}
	stdout, stderr, code := output(t, "dead-letters", "--redis", redis.URL(), "redrive", "--all")
	if code != 1 || !strings.HasSuffix(stdout, " queued again: /result/third\n") || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "its caller has sent it again") {
		t.Errorf("redrive --all: %d %q %q", code, stdout, stderr)
	}
	if status, _, body := p.do(http.MethodGet, locations[2]+"?wait=30s", nil); status != http.StatusOK {
		t.Errorf("one behind another that is answered: %d %s", status, body)
	}
	if got := command("remove", "--all"); !strings.HasSuffix(got, " removed\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("remove: %q", got)
	}
	if got := command("list"); got != "there are no dead letters\n" {
		t.Errorf("list: %q", got)
	}
}

func TestTheDeadLettersCommandSaysWhatIsWrong(t *testing.T) {
	redis := dispatchtest.StartRedis(t)
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"which ones?":      {[]string{"redrive"}, command.Usage, "dispatcher dead-letters: either IDs or --all must be given\n"},
		"these or all?":    {[]string{"remove", "--all", "1-1"}, command.Usage, "dispatcher dead-letters: either IDs or --all must be given\n"},
		"one that is gone": {[]string{"redrive", "1-1"}, command.Error, "dispatcher dead-letters: dead letter \"1-1\": no such dead letter\n"},
		"one to remove":    {[]string{"remove", "1-1"}, command.Error, "dispatcher dead-letters: dead letter \"1-1\": no such dead letter\n"},
		"what is no ID":    {[]string{"redrive", "first"}, command.Error, "dispatcher dead-letters: dead letter \"first\": read dead letter first: "},
		"a bad time":       {[]string{"redrive", "1-1", "--async-timeout", "0s"}, command.Usage, "dispatcher dead-letters: --async-timeout is 0s; allowed: 1s to 1h0m0s\n"},
		"no such command":  {[]string{"bury"}, command.Usage, "dispatcher dead-letters: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, stderr, code := output(t, append([]string{"dead-letters", "--redis", redis.URL()}, test.args...)...)
			if code != test.code || !strings.HasPrefix(stderr, test.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%d %q, want %d and one line %q", code, stderr, test.code, test.want)
			}
		})
	}
}

func TestAnAPIKeyOpensTheDoorItWasMadeFor(t *testing.T) {
	stdout, stderr, code := output(t, "api-key", "web", "--rate", "0.5", "--burst", "2")
	found := regexp.MustCompile(`^key:   (hr_\S+)\nentry: (\{"name":"web","sha256":"[0-9a-f]{64}","rate":0.5,"burst":2\})\n$`).FindStringSubmatch(stdout)
	if code != 0 || found == nil {
		t.Fatalf("%d %q %q", code, stdout, stderr)
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"keys":[` + found[2] + `]}`)
	p := launch(t, dispatchtest.StartRedis(t).URL(), "--backends", dispatchtest.StartReplica(t, nil).URL, "--api-keys", file)
	p.ready(t)
	if status, header, body := p.do(http.MethodPost, "/query", nil); status != http.StatusUnauthorized || header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a key: %d %s", status, body)
	}
	key := map[string]string{"Authorization": "Bearer " + found[1], "Headroom-Timeout": "10s"}
	for range 2 {
		if status, _, body := p.do(http.MethodPost, "/query", key); status != http.StatusOK {
			t.Errorf("with the key: %d %s", status, body)
		}
	}
	if status, header, body := p.do(http.MethodPost, "/query", key); status != http.StatusTooManyRequests || header.Get("Retry-After") != "2" {
		t.Errorf("too often: %d %s, Retry-After %q", status, body, header.Get("Retry-After"))
	}
	write(`{"keys":[` + strings.ReplaceAll(found[2], `,"rate":0.5,"burst":2`, "") + `]}`)
	dispatchtest.Eventually(t, 20*time.Second, "the new limit, which is none, is in force", func() bool {
		status, _, _ := p.do(http.MethodPost, "/query", key)
		return status == http.StatusOK
	})
	if strings.Contains(p.said(), found[1]) {
		t.Error("the log has the key")
	}
}

func TestABadAPIKeyIsNotMade(t *testing.T) {
	for want, args := range map[string][]string{
		"dispatcher api-key: name is \"Web\"; allowed: 1 to 63 of a-z, 0-9 and -\n":                                    {"Web"},
		"dispatcher api-key: rate is -1; allowed: a number of requests per second above 0 up to 1000000, or no rate\n": {"web", "--rate=-1"},
		"dispatcher api-key: burst is 5 without a rate; allowed: only with one\n":                                      {"web", "--burst", "5"},
	} {
		if stdout, stderr, code := output(t, append([]string{"api-key"}, args...)...); code != command.Usage || stderr != want || stdout != "" {
			t.Errorf("%v: %d %q %q", args, code, stdout, stderr)
		}
	}
}
