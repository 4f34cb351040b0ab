package loadbench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

const stubAnswer = `{"id":"1","model":"stub","predictions":[{"class":1,"label":"truck","probability":0.9}]}`

// Serve answers every request on listener with the same prediction, until the
// listener is closed. It is no more of an HTTP server than that takes, so that
// it is never what limits the load.
func Serve(listener net.Listener) error {
	response := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
		strconv.Itoa(len(stubAnswer)) + "\r\n\r\n" + stubAnswer)
	for {
		connection, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("stub server: %w", err)
		}
		go func() {
			defer func() { _ = connection.Close() }()
			requests := bufio.NewReaderSize(connection, 64<<10)
			for {
				if err := skipRequest(requests); err != nil {
					return
				}
				if _, err := connection.Write(response); err != nil {
					return
				}
			}
		}()
	}
}

// skipRequest reads a request with a Content-Length, or without a body.
func skipRequest(r *bufio.Reader) error {
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		if name == "" {
			_, err = io.CopyN(io.Discard, r, int64(length))
			return err
		}
		if strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return err
			}
		}
	}
}
