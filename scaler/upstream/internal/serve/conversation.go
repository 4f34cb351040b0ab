package serve

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"headroom.dev/scaler/upstream/internal/protocol"
)

// maxLine holds an observation of a hundred thousand pods, each its own group.
const maxLine = 32 << 20

// conversation reads lines and writes answers. Both block for real.
type conversation struct {
	lines *bufio.Scanner
	out   *json.Encoder
}

func newConversation(in io.Reader, out io.Writer) *conversation {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	return &conversation{lines: lines, out: json.NewEncoder(out)}
}

// next returns io.EOF when there are no more lines.
func (c *conversation) next() (protocol.Request, error) {
	if !c.lines.Scan() {
		switch err := c.lines.Err(); {
		case err == nil:
			return protocol.Request{}, io.EOF
		case errors.Is(err, bufio.ErrTooLong):
			return protocol.Request{}, c.refuse(fmt.Errorf("a line is longer than %d bytes", maxLine))
		default:
			return protocol.Request{}, err
		}
	}
	request, err := protocol.Parse(c.lines.Bytes())
	if err != nil {
		return protocol.Request{}, c.refuse(err)
	}
	return request, nil
}

func (c *conversation) answer(a protocol.Answer) error { return c.out.Encode(a) }

// refuse answers with what is wrong, and returns it.
func (c *conversation) refuse(err error) error {
	if failed := c.out.Encode(protocol.Failure{Error: err.Error()}); failed != nil {
		return failed
	}
	return err
}

func notRising(at, before float64) error {
	return fmt.Errorf("observe.at is %v: must be above %v, that of the observation before", at, before)
}
