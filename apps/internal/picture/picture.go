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
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"headroom.dev/apps/internal/reply"
)

// Field is the multipart field and the JSON key that holds the picture.
const Field = "image"

// ReadTimeout bounds the reading of a whole body, so that a slow sender can't
// hold a connection and its buffer.
const ReadTimeout = 15 * time.Second

// Error is a request that holds no usable picture.
type Error struct {
	// Status is the HTTP status to answer with: 400, 413 or 415.
	Status int
	// Code is the contract's error code for it.
	Code string
	// Message is for people.
	Message string
}

func (e *Error) Error() string { return e.Message }

// FromRequest reads the picture out of r, whose body may have at most limit
// bytes, whatever its form. Every error is an *Error.
func FromRequest(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, unsupported("Content-Encoding %q is not supported; send the body as it is", encoding)
	}
	mediaType, params, err := contentType(r)
	if err != nil {
		return nil, err
	}

	control := http.NewResponseController(w)
	if control.SetReadDeadline(time.Now().Add(ReadTimeout)) == nil {
		// Without this the deadline would end the handler's context later.
		defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)

	var body []byte
	switch mediaType {
	case "multipart/form-data":
		body, err = fromForm(r.Body, params["boundary"], limit)
	case "application/json":
		body, err = fromJSON(r.Body, r.ContentLength, limit)
	default:
		body, err = readAll(r.Body, r.ContentLength, limit)
	}
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, bad("the picture is empty")
	}
	return body, nil
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

func fromForm(body io.Reader, boundary string, limit int64) ([]byte, error) {
	reader := multipart.NewReader(body, boundary)
	for {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, bad("the form has no field %q with the picture", Field)
		}
		if err != nil {
			return nil, readError(err, limit)
		}
		if part.FormName() == Field {
			return readAll(part, -1, limit)
		}
	}
}

func fromJSON(body io.Reader, size, limit int64) ([]byte, error) {
	text, err := readAll(body, size, limit)
	if err != nil {
		return nil, err
	}
	var form struct {
		Image *string `json:"image"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&form); err != nil {
		return nil, bad("the JSON body can't be read: %v; it must be {%q: \"base64 of the picture\"}", err, Field)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("the JSON body goes on after its object; it must be {%q: \"base64 of the picture\"}", Field)
	}
	if form.Image == nil {
		return nil, bad("the JSON body has no key %q with the picture", Field)
	}
	picture, err := base64.StdEncoding.DecodeString(*form.Image)
	if err != nil {
		return nil, bad("the value of %q is not base64 (RFC 4648, standard alphabet, padded): %v", Field, err)
	}
	return picture, nil
}

// readAll reads r to its end. size is what it announced, or negative; it has
// been checked against limit.
func readAll(r io.Reader, size, limit int64) ([]byte, error) {
	var buffer bytes.Buffer
	if size > 0 {
		buffer.Grow(int(size) + bytes.MinRead)
	}
	if _, err := buffer.ReadFrom(r); err != nil {
		return nil, readError(err, limit)
	}
	return buffer.Bytes(), nil
}

func readError(err error, limit int64) *Error {
	var exceeded *http.MaxBytesError
	if errors.As(err, &exceeded) {
		return tooLarge(limit)
	}
	return bad("the body can't be read: %v", err)
}

func bad(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: string(reply.BadRequest), Message: fmt.Sprintf(format, args...)}
}

func unsupported(format string, args ...any) *Error {
	return &Error{Status: http.StatusUnsupportedMediaType, Code: string(reply.UnsupportedMediaType), Message: fmt.Sprintf(format, args...)}
}

func tooLarge(limit int64) *Error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Code: string(reply.TooLarge),
		Message: fmt.Sprintf("the body is larger than %d bytes, the most that is accepted", limit),
	}
}
