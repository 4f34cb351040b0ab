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
	"testing"

	"headroom.dev/apps/internal/picture"
)

const limit = 4096

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
			got, err := picture.FromRequest(httptest.NewRecorder(), r, limit)
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
		got, err := picture.FromRequest(httptest.NewRecorder(), r, limit)
		if err != nil || !bytes.Equal(got, photo) {
			t.Errorf("Content-Type %q: got %q, %v", contentType, got, err)
		}
	}
}

func TestBodyOfExactlyTheLimitIsRead(t *testing.T) {
	body := bytes.Repeat([]byte{'x'}, limit)
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	got, err := picture.FromRequest(httptest.NewRecorder(), r, limit)
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
			got, err := picture.FromRequest(httptest.NewRecorder(), r, limit)
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

func FuzzFromRequest(f *testing.F) {
	f.Add("image/jpeg", photo)
	f.Add("application/json", []byte(`{"image":"AAAA"}`))
	f.Add("multipart/form-data; boundary=b", []byte("--b\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nx\r\n--b--\r\n"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		got, err := picture.FromRequest(httptest.NewRecorder(), r, limit)
		var refusal *picture.Error
		switch {
		case err == nil && (len(got) == 0 || len(got) > limit):
			t.Errorf("got %d bytes", len(got))
		case err != nil && !errors.As(err, &refusal):
			t.Errorf("got %v, want a *picture.Error", err)
		}
	})
}
