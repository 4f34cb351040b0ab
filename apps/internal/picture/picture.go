// Package picture takes the picture's bytes out of a request, in the three
// forms of the contract's request.json: the body itself, a file in a
// multipart form, base64 in JSON. It does not look into the picture.
package picture

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"headroom.dev/apps/internal/reply"
)

// Field is the multipart field and the JSON key that holds the picture.
const Field = "image"

// Error is a request that holds no usable picture.
type Error struct {
	// Status is the HTTP status to answer with: 400, 408, 413, 415 or 503.
	Status int
	// Code is the contract's error code for it.
	Code string
	// Message is for people.
	Message string
}

func (e *Error) Error() string { return e.Message }

// HTTPStatus is Status.
func (e *Error) HTTPStatus() int { return e.Status }

// Limits bound what bodies may cost.
type Limits struct {
	// Body is the most bytes of one body.
	Body int64
	// Memory is the most bytes that all bodies together may take at a time.
	// What has not arrived takes none, whatever its sender announced.
	Memory int64
	// Time is the longest that one body may take to arrive, so that a slow
	// sender can't hold a connection and its buffer.
	Time time.Duration
}

// Reader reads the bodies of requests within limits. It is for concurrent use.
type Reader struct {
	limits Limits
	used   atomic.Int64
	bodies sync.Pool
}

// NewReader makes a Reader.
func NewReader(limits Limits) *Reader { return &Reader{limits: limits} }

// Body is what was read. Its memory is used again once it is released.
type Body struct {
	// Picture is the picture, or for Raw the body.
	Picture []byte

	reader *Reader
	buffer []byte
	// reserved is what the body counts against the memory of all.
	reserved int64
}

// The buffer that a body begins with, and the largest that is kept for another,
// in bytes.
const (
	firstBuffer = 4 << 10
	keptBuffer  = 1 << 20
)

func (r *Reader) body() (*Body, error) {
	b, ok := r.bodies.Get().(*Body)
	if !ok {
		b = &Body{reader: r}
	}
	return b, b.reserve(int64(cap(b.buffer)))
}

// reserve counts n more bytes, or refuses.
func (b *Body) reserve(n int64) error {
	b.reserved += n
	return b.reader.take(n)
}

// take counts n bytes, also where it refuses them.
func (r *Reader) take(n int64) error {
	if r.used.Add(n) > r.limits.Memory {
		return &Error{
			Status: http.StatusServiceUnavailable, Code: string(reply.Overloaded),
			Message: fmt.Sprintf("the bodies of the requests being read take %d bytes, the most that is accepted", r.limits.Memory),
		}
	}
	return nil
}

// Hold counts n bytes that somebody else reads against the memory of all bodies,
// until release is called. An error is an *Error, and nothing is held then.
func (r *Reader) Hold(n int64) (release func(), err error) {
	release = func() { r.used.Add(-n) }
	if err := r.take(n); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// Release gives the body's memory back. Picture must not be used afterwards.
func (b *Body) Release() {
	b.reader.used.Add(-b.reserved)
	b.reserved, b.Picture = 0, nil
	if cap(b.buffer) > keptBuffer {
		b.buffer = nil
	}
	b.reader.bodies.Put(b)
}

// Picture reads the picture out of a request, in any of the forms. Every error
// is an *Error; without one the Body has to be released.
func (r *Reader) Picture(w http.ResponseWriter, request *http.Request) (*Body, error) {
	return r.PictureBy(w, request, time.Now().Add(r.limits.Time))
}

// PictureBy is Picture, and gives up at by if that is earlier than the time limit
// of a body.
func (r *Reader) PictureBy(w http.ResponseWriter, request *http.Request, by time.Time) (*Body, error) {
	mediaType, params, err := contentType(request)
	if err != nil {
		return nil, err
	}
	arrive, decode := (*Body).readRequest, (*Body).notEmpty
	switch mediaType {
	case "multipart/form-data":
		arrive = func(b *Body, request *http.Request) error { return b.readForm(request.Body, params["boundary"]) }
	case "application/json":
		decode = (*Body).decodeJSON
	}
	return r.read(w, request, by, arrive, decode)
}

// Raw reads a body as it is. Every error is an *Error; without one the Body has
// to be released.
func (r *Reader) Raw(w http.ResponseWriter, request *http.Request) (*Body, error) {
	return r.read(w, request, time.Now().Add(r.limits.Time), (*Body).readRequest, func(*Body) error { return nil })
}

// read has a body arrive, and then decodes it.
func (r *Reader) read(w http.ResponseWriter, request *http.Request, by time.Time, arrive func(*Body, *http.Request) error, decode func(*Body) error) (*Body, error) {
	if request.ContentLength > r.limits.Body {
		return nil, r.tooLarge()
	}
	if encoding := request.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, unsupported("Content-Encoding %q is not supported; send the body as it is", encoding)
	}
	control := http.NewResponseController(w)
	if limit := time.Now().Add(r.limits.Time); limit.Before(by) {
		by = limit
	}
	bounded := control.SetReadDeadline(by) == nil
	request.Body = http.MaxBytesReader(w, request.Body, r.limits.Body)
	b, err := r.body()
	if err == nil {
		err = arrive(b, request)
	}
	if err == nil {
		request.Body = http.NoBody // it has ended, and nobody has to look for a rest of it
		if bounded {
			// Before anything that takes time, or the deadline would end the handler's context.
			// After an error it stays: net/http reads on before it sends the refusal.
			_ = control.SetReadDeadline(time.Time{})
		}
		err = decode(b)
	}
	if err != nil {
		b.Release()
		return nil, err
	}
	return b, nil
}

func contentType(r *http.Request) (mediaType string, params map[string]string, err error) {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return "", nil, nil
	}
	mediaType, params, err = mime.ParseMediaType(header)
	if err != nil {
		return "", nil, unsupported("Content-Type %q can't be read: %v", header, err)
	}
	switch {
	case strings.HasPrefix(mediaType, "image/"), mediaType == "application/octet-stream", mediaType == "application/json":
		return mediaType, params, nil
	case mediaType == "multipart/form-data":
		if params["boundary"] == "" {
			return "", nil, bad("Content-Type multipart/form-data has no boundary")
		}
		return mediaType, params, nil
	}
	return "", nil, unsupported("Content-Type %q is not supported; allowed: image/*, application/octet-stream, multipart/form-data, application/json, or none", mediaType)
}

// readRequest reads a request's body as it is.
func (b *Body) readRequest(request *http.Request) error {
	return b.readAll(request.Body, request.ContentLength)
}

func (b *Body) notEmpty() error {
	if len(b.Picture) == 0 {
		return bad("the picture is empty")
	}
	return nil
}

// maxPartHeader is the most bytes before the content of a form's part. The reader of
// forms would keep 10 MiB of them.
const maxPartHeader = 16 << 10

// readForm reads the form's part with the picture, and throws the others away.
func (b *Body) readForm(body io.Reader, boundary string) error {
	bounded := &io.LimitedReader{R: body}
	reader := multipart.NewReader(bounded, boundary)
	for {
		bounded.N = maxPartHeader
		part, err := reader.NextPart()
		switch {
		case err == nil:
		case bounded.N <= 0: // which is an end to the reader of forms
			return bad("the headers of a part of the form take more than %d bytes, the most that is accepted", maxPartHeader)
		case errors.Is(err, io.EOF):
			return bad("the form has no field %q with the picture", Field)
		default:
			return b.reader.readError(err)
		}
		bounded.N = math.MaxInt64
		if part.FormName() == Field {
			if err := b.readAll(part, -1); err != nil {
				return err
			}
			break
		}
		// Here, as NextPart would read on within the bound of a header.
		if _, err := io.Copy(io.Discard, part); err != nil {
			return b.reader.readError(err)
		}
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return b.reader.readError(err)
	}
	return nil
}

// maxDepth is how deep the JSON form may be nested; the contract's is 1 deep.
const maxDepth = 8

// decodeJSON takes the picture out of a body in JSON.
func (b *Body) decodeJSON() error {
	text := b.Picture
	if deeper(text, maxDepth) {
		return bad("the JSON body is nested more than %d deep, the most that is accepted", maxDepth)
	}
	// The decoder's own copy, the string that it reads and the picture.
	if err := b.reserve(4 * int64(len(text))); err != nil {
		return err
	}
	var form struct {
		Image *string `json:"image"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&form); err != nil {
		// Cut, as it may repeat a key of any length.
		return bad("the JSON body can't be read: %.100v; it must be {%q: \"base64 of the picture\"}", err, Field)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return bad("the JSON body goes on after its object; it must be {%q: \"base64 of the picture\"}", Field)
	}
	if form.Image == nil {
		return bad("the JSON body has no key %q with the picture", Field)
	}
	picture, err := base64.StdEncoding.DecodeString(*form.Image)
	if err != nil {
		return bad("the value of %q is not base64 (RFC 4648, standard alphabet, padded): %v", Field, err)
	}
	b.Picture = picture
	return b.notEmpty()
}

// deeper says whether JSON is nested more than most deep, without building
// anything of it.
func deeper(text []byte, most int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > most {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// readAll reads from to its end. size is what it announced, or negative; it has
// been checked against the limit. The buffer grows with what arrives, so that a
// sender who announces much and sends little holds little.
func (b *Body) readAll(from io.Reader, size int64) error {
	enough := int(b.reader.limits.Body) + 1 // one more, to see the end
	if size >= 0 {
		enough = int(size) + 1
	}
	if err := b.grow(min(firstBuffer, enough)); err != nil {
		return err
	}
	buffer := b.buffer[:0]
	for {
		n, err := from.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if errors.Is(err, io.EOF) {
			b.Picture = buffer
			return nil
		}
		if err != nil {
			return b.reader.readError(err)
		}
		if len(buffer) == cap(buffer) {
			b.buffer = buffer
			if err := b.grow(max(min(4*cap(buffer), enough), cap(buffer)+1)); err != nil {
				return err
			}
			buffer = b.buffer[:len(buffer)]
		}
	}
}

// grow makes the buffer's capacity at least n and keeps what is in it.
func (b *Body) grow(n int) error {
	more := n - cap(b.buffer)
	if more <= 0 {
		return nil
	}
	if err := b.reserve(int64(more)); err != nil {
		return err
	}
	larger := make([]byte, len(b.buffer), n)
	copy(larger, b.buffer)
	b.buffer = larger
	return nil
}

func (r *Reader) readError(err error) *Error {
	var exceeded *http.MaxBytesError
	switch {
	case errors.As(err, &exceeded):
		return r.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{
			Status: http.StatusRequestTimeout, Code: string(reply.RequestTimeout),
			Message: fmt.Sprintf("the body did not arrive within %v, the most that is accepted", r.limits.Time),
		}
	}
	return bad("the body can't be read: %v", err)
}

func bad(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: string(reply.BadRequest), Message: fmt.Sprintf(format, args...)}
}

func unsupported(format string, args ...any) *Error {
	return &Error{Status: http.StatusUnsupportedMediaType, Code: string(reply.UnsupportedMediaType), Message: fmt.Sprintf(format, args...)}
}

func (r *Reader) tooLarge() *Error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Code: string(reply.TooLarge),
		Message: fmt.Sprintf("the body is larger than %d bytes, the most that is accepted", r.limits.Body),
	}
}
