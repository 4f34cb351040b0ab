package peers

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// doubleEnv makes the test binary stand in for an upstream that fails, in the
// way it names.
const doubleEnv = "PEERS_TEST_DOUBLE"

func TestMain(m *testing.M) {
	if way := os.Getenv(doubleEnv); way != "" {
		double(way)
	}
	os.Exit(m.Run())
}

func double(way string) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Scan()
	switch way {
	case "panics":
		fmt.Fprintf(os.Stderr, "%s\npanic: all goroutines\nare asleep\n", strings.Repeat("x", 1000))
		os.Exit(2)
	case "leaves":
		os.Exit(0)
	case "babbles":
		fmt.Println("PASS")
		for lines.Scan() {
			// it goes on reading until it is killed
		}
	}
	os.Exit(1)
}

func TestAProcessThatDiesSaysWhy(t *testing.T) {
	cases := []struct{ way, want string }{
		{"panics", "exit status 2: "},
		{"panics", "panic: all goroutines | are asleep"},
		{"leaves", "exit status 0: nothing on stderr"},
		{"babbles", `the answer is "PASS\n": must hold replicas or error`},
	}
	for _, c := range cases {
		t.Run(c.way, func(t *testing.T) {
			t.Setenv(doubleEnv, c.way)
			p, err := Start(t.Context(), os.Args[0])
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.HPA(HPAOptions{})
			checkError(t, err, c.want)
			if len(err.Error()) > 2*tailBytes {
				t.Errorf("the error is %d bytes long, want only the tail of stderr", len(err.Error()))
			}
			if _, again := p.KPA(KPAOptions{}); !errors.Is(again, err) {
				t.Errorf("a second session: %v, want %v", again, err)
			}
			if closed := p.Close(); !errors.Is(closed, err) {
				t.Errorf("closing: %v, want %v", closed, err)
			}
		})
	}
}

func TestStartNamesABinaryThatIsNotThere(t *testing.T) {
	_, err := Start(t.Context(), "/nowhere/upstream")
	checkError(t, err, "/nowhere/upstream")
}
