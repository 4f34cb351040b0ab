package queryapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/gin-gonic/gin"

	"headroom.dev/apps/internal/dispatchtest"
)

// document is the API's description, as it is served.
func document(t testing.TB, handler http.Handler) *openapi3.T {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		t.Fatalf("/openapi.json answered %d, %s", w.Code, w.Header().Get("Content-Type"))
	}
	doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// asDescribed checks every answer of handler against its description, and every
// request that it answers with 2xx. What the description does not know must be
// answered with 404 or 405.
func asDescribed(t testing.TB, handler http.Handler) http.Handler {
	doc := document(t, handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard := &heardBody{ReadCloser: r.Body}
		if r.Body != http.NoBody {
			r.Body = heard
		}
		said := &saidBody{ResponseWriter: w, status: http.StatusOK}
		handler.ServeHTTP(said, r)

		path := r.URL.Path
		if strings.HasPrefix(path, "/result/") {
			path = "/result/{id}"
		}
		item := doc.Paths.Value(path)
		if item == nil || item.GetOperation(r.Method) == nil {
			if said.status != http.StatusNotFound && said.status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s answered %d and is not described", r.Method, r.URL.Path, said.status)
			}
			return
		}
		if r.Context().Err() != nil || said.status == http.StatusOK && said.body.Len() == 0 {
			return // the caller was gone
		}
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(heard.all.Bytes()))
		request := &openapi3filter.RequestValidationInput{
			Request: again, PathParams: map[string]string{"id": strings.TrimPrefix(r.URL.Path, "/result/")}, QueryParams: r.URL.Query(),
			Route:   &routers.Route{Spec: doc, Path: path, PathItem: item, Method: r.Method, Operation: item.GetOperation(r.Method)},
			Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, ExcludeRequestBody: !described(r)},
		}
		if said.status < 300 {
			if err := openapi3filter.ValidateRequest(r.Context(), request); err != nil {
				t.Errorf("%s %s answered %d to what is not described: %v", r.Method, r.URL.Path, said.status, err)
			}
		}
		err := openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: request, Status: said.status, Header: w.Header(), Body: io.NopCloser(&said.body),
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		})
		if err != nil {
			t.Errorf("%s %s answered %d, not as described: %v", r.Method, r.URL.Path, said.status, err)
		}
	})
}

// described says whether the validator knows how to read a body of this type: it
// has no idea of pictures, nor of a body without a type.
func described(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/json")
}

type heardBody struct {
	io.ReadCloser
	all bytes.Buffer
}

func (b *heardBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.all.Write(p[:n])
	return n, err
}

type saidBody struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *saidBody) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *saidBody) Write(p []byte) (int, error) {
	w.body.Write(p)
	return w.ResponseWriter.Write(p)
}

func (w *saidBody) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

// Unwrap lets http.ResponseController through.
func (w *saidBody) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestTheDescriptionDescribesWhatIsThere(t *testing.T) {
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{})
	handler := d.api.Handler()
	doc := document(t, handler)
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Error(err)
	}
	var described, served []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	for _, route := range handler.(*gin.Engine).Routes() {
		served = append(served, route.Method+" "+strings.ReplaceAll(route.Path, ":id", "{id}"))
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described %q, served %q", described, served)
	}
}

func TestTheDescriptionKeepsTheContract(t *testing.T) {
	d := start(t, dispatchtest.StartRedis(t).URL(), settings{})
	var doc struct {
		Components struct{ Schemas map[string]any }
		Paths      map[string]map[string]struct{ Parameters []struct{ Name, In string } }
	}
	if err := json.Unmarshal(d.do(t, newRequest(t, http.MethodGet, d.URL+"/openapi.json", nil)).body, &doc); err != nil {
		t.Fatal(err)
	}
	read := func(name string, into any) {
		text, err := os.ReadFile("../../../contract/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	for schema, file := range map[string]string{"Reply": "reply.schema.json", "Failure": "error.schema.json"} {
		var want map[string]any
		read(file, &want)
		delete(want, "$schema")
		if got := doc.Components.Schemas[schema]; !reflect.DeepEqual(got, any(want)) {
			t.Errorf("%s is not that of %s: %v", schema, file, got)
		}
	}
	var contract struct {
		Headers map[string]struct{ Name, From string }
	}
	read("request.json", &contract)
	var described, want []string
	for _, p := range doc.Paths["/query"]["post"].Parameters {
		described = append(described, p.Name)
	}
	for _, h := range contract.Headers {
		// OpenAPI has a place of its own for authorization.
		if strings.Contains(h.From, "client") && h.Name != "Authorization" {
			want = append(want, h.Name)
		}
	}
	slices.Sort(described)
	slices.Sort(want)
	if !slices.Equal(described, want) {
		t.Errorf("headers %q are described, the contract has %q", described, want)
	}
}
