package backend

import (
	"errors"
	"io"
	"sync"
)

// loan lends a picture to the HTTP client, which may still read a request's body
// when it has given the answer, or up: whoever owns the picture's memory uses it
// again then.
type loan struct {
	mu      sync.Mutex
	picture []byte
	ended   bool
}

var errEnded = errors.New("the attempt has ended")

// end takes the picture back: it is not read any more when end returns.
func (l *loan) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.picture, l.ended = nil, true
}

// body reads the picture from its beginning.
func (l *loan) body() io.ReadCloser { return &loanBody{loan: l} }

type loanBody struct {
	loan *loan
	read int
}

func (b *loanBody) Read(p []byte) (int, error) {
	b.loan.mu.Lock()
	defer b.loan.mu.Unlock()
	switch {
	case b.loan.ended:
		return 0, errEnded
	case b.read >= len(b.loan.picture):
		return 0, io.EOF
	}
	n := copy(p, b.loan.picture[b.read:])
	b.read += n
	return n, nil
}

func (*loanBody) Close() error { return nil }
