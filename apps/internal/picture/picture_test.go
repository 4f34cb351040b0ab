package picture_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"headroom.dev/apps/internal/picture"
)

const limit = 4096

// read reads a picture with a Reader of its own, and checks that nothing is
// left of it.
func read(t testing.TB, r *http.Request) ([]byte, error) {
	t.Helper()
	reader := picture.NewReader(picture.Limits{Body: limit, Memory: 1 << 20, Time: time.Second})
	body, err := reader.Picture(httptest.NewRecorder(), r)
	if err != nil {
		return nil, err
	}
	result := bytes.Clone(body.Picture)
	body.Release()
	return result, nil
}

// photo stands for a picture: this package does not look into it.
var photo = []byte("\xff\xd8 not really a JPEG \x00\xff")

func form(t *testing.T, field string, content []byte) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.WriteField("note", "a field that is not the picture"); err != nil {
		t.Fatal(err)
	}
	part, err := w.CreateFormFile(field, "photo.jpg")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

// The forms are those of the contract.
func TestFormsOfTheContract(t *testing.T) {
	data, err := os.ReadFile("../../../contract/request.json")
	if err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Forms []struct {
			ContentType string `json:"content_type"`
			Field       string `json:"field"`
		} `json:"forms"`
	}
	if err := json.Unmarshal(data, &contract); err != nil {
		t.Fatal(err)
	}
	if len(contract.Forms) != 3 {
		t.Fatalf("the contract has %d forms, this test knows 3", len(contract.Forms))
	}
	for _, f := range contract.Forms {
		t.Run(f.ContentType, func(t *testing.T) {
			contentType, body := f.ContentType, photo
			switch f.ContentType {
			case "multipart/form-data":
				contentType, body = form(t, f.Field, photo)
			case "application/json":
				body = fmt.Appendf(nil, `{%q: %q}`, f.Field, base64.StdEncoding.EncodeToString(photo))
			}
			r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
			r.Header.Set("Content-Type", contentType)
			got, err := read(t, r)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, photo) {
				t.Errorf("got %q, want %q", got, photo)
			}
		})
	}
}

func TestRawBodyOfAnyPictureType(t *testing.T) {
	for _, contentType := range []string{"", "image/png", "IMAGE/webp; q=1", "application/octet-stream"} {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(photo))
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		got, err := read(t, r)
		if err != nil || !bytes.Equal(got, photo) {
			t.Errorf("Content-Type %q: got %q, %v", contentType, got, err)
		}
	}
}

func TestBodyOfExactlyTheLimitIsRead(t *testing.T) {
	body := bytes.Repeat([]byte{'x'}, limit)
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	got, err := read(t, r)
	if err != nil || len(got) != limit {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestRefusals(t *testing.T) {
	tooBig := strings.Repeat("x", limit+1)
	bigForm, bigFormBody := form(t, picture.Field, []byte(tooBig))
	otherForm, otherFormBody := form(t, "file", photo)
	emptyForm, emptyFormBody := form(t, picture.Field, nil)
	tests := []struct {
		name, contentType, encoding, body string
		chunked                           bool
		status                            int
		code, message                     string
	}{
		{"too large, announced", "image/jpeg", "", tooBig, false, 413, "too_large", "the body is larger than 4096 bytes, the most that is accepted"},
		{"too large, not announced", "image/jpeg", "", tooBig, true, 413, "too_large", "the body is larger than 4096 bytes, the most that is accepted"},
		{"too large, in a form", bigForm, "", string(bigFormBody), true, 413, "too_large", "the body is larger than 4096 bytes, the most that is accepted"},
		{"too large, in JSON", "application/json", "", `{"image":"` + tooBig + `"}`, true, 413, "too_large", "the body is larger than 4096 bytes, the most that is accepted"},
		{"empty", "image/jpeg", "", "", false, 400, "bad_request", "the picture is empty"},
		{"a long key in JSON", "application/json", "", `{"` + strings.Repeat("k", 3000) + `": 1}`, false, 400, "bad_request", `the JSON body can't be read: json: unknown field "` + strings.Repeat("k", 79) + `; it must be {"image": "base64 of the picture"}`},
		{"another type", "text/plain", "", "x", false, 415, "unsupported_media_type", `Content-Type "text/plain" is not supported; allowed: image/*, application/octet-stream, multipart/form-data, application/json, or none`},
		{"a type that is none", ";;", "", "x", false, 415, "unsupported_media_type", `Content-Type ";;" can't be read: mime: no media type`},
		{"compressed", "image/jpeg", "gzip", "x", false, 415, "unsupported_media_type", `Content-Encoding "gzip" is not supported; send the body as it is`},
		{"form without a boundary", "multipart/form-data", "", "x", false, 400, "bad_request", "Content-Type multipart/form-data has no boundary"},
		{"form without the field", otherForm, "", string(otherFormBody), false, 400, "bad_request", `the form has no field "image" with the picture`},
		{"form with an empty picture", emptyForm, "", string(emptyFormBody), false, 400, "bad_request", "the picture is empty"},
		{"form cut off in the picture", bigForm, "", string(bigFormBody[:1000]), false, 400, "bad_request", "the body can't be read: unexpected EOF"},
		{"JSON cut off", "application/json", "", `{"image":"AA`, false, 400, "bad_request", `the JSON body can't be read: unexpected EOF; it must be {"image": "base64 of the picture"}`},
		{"JSON with another key", "application/json", "", `{"path":"/etc/passwd"}`, false, 400, "bad_request", `the JSON body can't be read: json: unknown field "path"; it must be {"image": "base64 of the picture"}`},
		{"JSON with no key", "application/json", "", `{}`, false, 400, "bad_request", `the JSON body has no key "image" with the picture`},
		{"JSON that goes on", "application/json", "", `{"image":"AAAA"}{}`, false, 400, "bad_request", `the JSON body goes on after its object; it must be {"image": "base64 of the picture"}`},
		{"JSON that is deep", "application/json", "", `{"image":` + strings.Repeat("[", 8), false, 400, "bad_request", "the JSON body is nested more than 8 deep, the most that is accepted"},
		{"JSON that is deep in a string only", "application/json", "", `{"image":"` + strings.Repeat("[", 8) + `"}`, false, 400, "bad_request", `the value of "image" is not base64 (RFC 4648, standard alphabet, padded): illegal base64 data at input byte 0`},
		{"JSON, not base64", "application/json", "", `{"image":"!"}`, false, 400, "bad_request", `the value of "image" is not base64 (RFC 4648, standard alphabet, padded): illegal base64 data at input byte 0`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var body io.Reader = strings.NewReader(test.body)
			if test.chunked {
				body = struct{ io.Reader }{body}
			}
			r := httptest.NewRequest(http.MethodPost, "/", body)
			r.Header.Set("Content-Type", test.contentType)
			if test.encoding != "" {
				r.Header.Set("Content-Encoding", test.encoding)
			}
			got, err := read(t, r)
			var refusal *picture.Error
			if !errors.As(err, &refusal) {
				t.Fatalf("got %q, %v, want a *picture.Error", got, err)
			}
			if refusal.Status != test.status || refusal.Code != test.code || refusal.Message != test.message {
				t.Errorf("got %d %s %q,\nwant %d %s %q", refusal.Status, refusal.Code, refusal.Message, test.status, test.code, test.message)
			}
		})
	}
}

// A sender who announces much and sends little holds little memory; all
// together hold no more than the limit.
func TestMemoryOfAllBodies(t *testing.T) {
	const memory = 300 << 10
	reader := picture.NewReader(picture.Limits{Body: 1 << 20, Memory: memory, Time: time.Minute})
	raw := func(n int) (*picture.Body, error) {
		r := httptest.NewRequest(http.MethodPost, "/", io.LimitReader(zeros{}, int64(n)))
		r.ContentLength = int64(n)
		return reader.Raw(httptest.NewRecorder(), r)
	}
	// Each takes 60 KiB and a byte, so that the fifth is one too many.
	var held []*picture.Body
	for range 4 {
		body, err := raw(60 << 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(body.Picture) != 60<<10 {
			t.Errorf("read %d bytes", len(body.Picture))
		}
		held = append(held, body)
	}
	_, err := raw(60 << 10)
	var refusal *picture.Error
	const want = "the bodies of the requests being read take 307200 bytes, the most that is accepted"
	if !errors.As(err, &refusal) || refusal.Status != 503 || refusal.Code != "overloaded" || refusal.Message != want {
		t.Errorf("got %+v", err)
	}
	// A sender who has sent a byte of a megabyte holds a page.
	r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader("x"), readFunc(func([]byte) (int, error) {
		return 0, errors.New("cut off")
	})))
	r.ContentLength = 1 << 20
	if _, err := reader.Raw(httptest.NewRecorder(), r); !errors.As(err, &refusal) || refusal.Message != "the body can't be read: cut off" {
		t.Errorf("got %v", err)
	}
	for _, body := range held {
		body.Release()
	}
	// What was refused or released counts no more: one of nearly all is read.
	for range 3 {
		body, err := raw(200 << 10)
		if err != nil {
			t.Fatal(err)
		}
		body.Release()
	}
}

// What somebody else reads counts as well.
func TestMemoryThatIsHeldForOthers(t *testing.T) {
	reader := picture.NewReader(picture.Limits{Body: 1000, Memory: 10_000, Time: time.Minute})
	release, err := reader.Hold(6000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Hold(6000); err == nil {
		t.Error("12,000 bytes are held, of 10,000")
	}
	raw := func() error {
		body, err := reader.Raw(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, 900))))
		if err == nil {
			body.Release()
		}
		return err
	}
	if err := raw(); err != nil {
		t.Error(err)
	}
	more, err := reader.Hold(3500)
	if err != nil {
		t.Fatal(err)
	}
	var refusal *picture.Error
	if err := raw(); !errors.As(err, &refusal) || refusal.Status != 503 {
		t.Errorf("with 9,500 bytes held, a body of 900 got %v", err)
	}
	more()
	release()
	if err := raw(); err != nil {
		t.Error(err)
	}
}

// What stands before a part's content is kept by the reader of forms, and not counted:
// little of it is read. A part that is not the picture may have any size.
func TestFormsWithMuchInThem(t *testing.T) {
	reader := picture.NewReader(picture.Limits{Body: 1 << 20, Memory: 1 << 20, Time: time.Minute})
	post := func(body io.Reader) ([]byte, error) {
		r := httptest.NewRequest(http.MethodPost, "/", body)
		r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		got, err := reader.Picture(httptest.NewRecorder(), r)
		if err != nil {
			return nil, err
		}
		defer got.Release()
		return bytes.Clone(got.Picture), nil
	}
	const image = "--b\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nx\r\n--b--\r\n"
	much := strings.Repeat("y", 100_000)
	got, err := post(strings.NewReader("--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n" + much + "\r\n" + image))
	if err != nil || string(got) != "x" {
		t.Errorf("behind a large part: got %q, %v", got, err)
	}
	for name, text := range map[string]string{
		"a long header": "--b\r\nX: " + much,
		"many headers":  "--b\r\n" + strings.Repeat("X: y\r\n", 20_000),
	} {
		body := strings.NewReader(text)
		_, err := post(body)
		const want = "the headers of a part of the form take more than 16384 bytes, the most that is accepted"
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v", name, err)
		}
		if read := len(text) - body.Len(); read > 20_000 {
			t.Errorf("%s: %d bytes were read", name, read)
		}
	}
}

// deadlines notes the last read deadline that is set.
type deadlines struct {
	*httptest.ResponseRecorder
	last time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.last = t
	return nil
}

// A body that has ended has no deadline, also where it turns out to be bad: net/http
// would take it for the caller's going.
func TestABodyThatHasEndedHasNoDeadline(t *testing.T) {
	for name, body := range map[string]string{"good": `{"image":"AAAA"}`, "bad": `{"image":"!"}`} {
		reader := picture.NewReader(picture.Limits{Body: limit, Memory: 1 << 20, Time: time.Minute})
		w := &deadlines{ResponseRecorder: httptest.NewRecorder(), last: time.Now()}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if _, err := reader.Picture(w, r); (err == nil) != (name == "good") {
			t.Errorf("%s: %v", name, err)
		}
		if !w.last.IsZero() || r.Body != http.NoBody {
			t.Errorf("%s: the deadline is %v, the rest %v", name, w.last, r.Body)
		}
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A body that comes too slowly is refused when its time is over.
func TestASlowSenderIsRefused(t *testing.T) {
	reader := picture.NewReader(picture.Limits{Body: limit, Memory: 1 << 20, Time: 50 * time.Millisecond})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := reader.Picture(w, r)
		var refusal *picture.Error
		if !errors.As(err, &refusal) {
			t.Errorf("got %v, %v", body, err)
			return
		}
		http.Error(w, refusal.Code+": "+refusal.Message, refusal.Status)
	}))
	defer server.Close()
	half, sender := io.Pipe()
	defer func() { _ = sender.Close() }()
	go func() { _, _ = sender.Write([]byte("half of it")) }()
	response, err := http.Post(server.URL, "image/jpeg", half)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	message, err := io.ReadAll(response.Body)
	const want = "request_timeout: the body did not arrive within 50ms, the most that is accepted\n"
	if err != nil || response.StatusCode != 408 || string(message) != want {
		t.Errorf("got %d %q, %v", response.StatusCode, message, err)
	}
}

// Bodies of the same reader, one after the other and at the same time, do not
// show each other's bytes, and small ones take no memory anew.
func TestBuffersAreUsedAgain(t *testing.T) {
	reader := picture.NewReader(picture.Limits{Body: 1 << 20, Memory: 64 << 20, Time: time.Minute})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for round := range 50 {
				want := bytes.Repeat([]byte{byte(i), byte(round)}, 1+(i*7919+round*104729)%200_000)
				r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(want))
				body, err := reader.Picture(httptest.NewRecorder(), r)
				if err != nil || !bytes.Equal(body.Picture, want) {
					t.Errorf("body %d of %d: %v", round, i, err)
					return
				}
				body.Release()
			}
		})
	}
	group.Wait()
}

func FuzzPicture(f *testing.F) {
	f.Add("image/jpeg", photo)
	f.Add("application/json", []byte(`{"image":"AAAA"}`))
	f.Add("multipart/form-data; boundary=b", []byte("--b\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nx\r\n--b--\r\n"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		got, err := read(t, r)
		var refusal *picture.Error
		switch {
		case err == nil && (len(got) == 0 || len(got) > limit):
			t.Errorf("got %d bytes", len(got))
		case err != nil && !errors.As(err, &refusal):
			t.Errorf("got %v, want a *picture.Error", err)
		}
	})
}
